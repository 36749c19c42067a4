"""What stands in a room, what lies about in it, and what people do with it: the tables generated games draw from.

Names are ALFWorld's. How often and how many follow, roughly, what its training rooms hold.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Furniture:
    """One kind of place in a room."""

    name: str
    chance: float  # that the room has any
    fewest: int
    most: int


@dataclass(frozen=True)
class Belonging:
    """One kind of thing in a room, and the kinds of place where people leave it, the likelier twice."""

    name: str
    chance: float
    most: int
    homes: tuple[str, ...]


@dataclass(frozen=True)
class Room:
    name: str
    scene: int  # ALFWorld numbers its rooms from here, by kind
    furniture: tuple[Furniture, ...]
    belongings: tuple[Belonging, ...]


def _furniture(table: str) -> tuple[Furniture, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(Furniture(name, float(chance), int(few), int(many)) for name, chance, few, many in rows)


def _belongings(table: str) -> tuple[Belonging, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(Belonging(name, float(chance), int(most), tuple(homes)) for name, chance, most, *homes in rows)


KITCHEN = Room(
    "kitchen",
    1,
    _furniture("""
        Cabinet 1.0 4 16
        CoffeeMachine 1.0 1 1
        CounterTop 1.0 1 3
        DiningTable 0.6 1 2
        Drawer 0.95 1 9
        Fridge 1.0 1 1
        GarbageCan 1.0 1 1
        Microwave 1.0 1 1
        Shelf 0.2 1 3
        SideTable 0.1 1 1
        SinkBasin 1.0 1 1
        StoveBurner 1.0 4 4
        Toaster 1.0 1 1
    """),
    _belongings("""
        Apple 1.0 3 CounterTop CounterTop DiningTable Fridge Fridge SinkBasin Microwave GarbageCan SideTable
        Bowl 1.0 3 Cabinet Cabinet CounterTop DiningTable Fridge Shelf SinkBasin
        Bread 0.9 2 CounterTop CounterTop DiningTable Fridge SideTable
        ButterKnife 0.9 2 CounterTop CounterTop DiningTable DiningTable Drawer SinkBasin
        Cup 1.0 3 Cabinet Cabinet CounterTop DiningTable Fridge Microwave Shelf SinkBasin
        DishSponge 0.9 3 Cabinet CounterTop Drawer Drawer SinkBasin GarbageCan
        Egg 1.0 3 Fridge Fridge CounterTop DiningTable SinkBasin Microwave GarbageCan
        Fork 1.0 3 Drawer Drawer CounterTop DiningTable SinkBasin
        Glassbottle 0.25 3 Cabinet CounterTop Fridge DiningTable SinkBasin
        Kettle 0.5 2 StoveBurner StoveBurner Cabinet CounterTop
        Knife 1.0 3 CounterTop CounterTop Drawer DiningTable SinkBasin
        Ladle 0.35 3 Cabinet CounterTop Drawer DiningTable
        Lettuce 1.0 3 CounterTop CounterTop DiningTable Fridge Fridge SinkBasin
        Mug 1.0 3 CoffeeMachine CounterTop Cabinet Fridge Microwave DiningTable SinkBasin
        Pan 1.0 3 StoveBurner StoveBurner CounterTop CounterTop Cabinet
        PepperShaker 1.0 3 Cabinet Cabinet CounterTop DiningTable Drawer Shelf SideTable
        Plate 1.0 3 Cabinet Cabinet CounterTop DiningTable Fridge Shelf
        Pot 1.0 3 StoveBurner StoveBurner CounterTop Fridge Cabinet
        Potato 1.0 3 CounterTop CounterTop Fridge Fridge DiningTable SinkBasin Microwave GarbageCan
        SaltShaker 1.0 3 Cabinet Cabinet CounterTop DiningTable Drawer Shelf SideTable
        SoapBottle 1.0 3 CounterTop CounterTop Cabinet DiningTable GarbageCan Shelf
        Spatula 1.0 3 CounterTop CounterTop DiningTable Drawer SinkBasin
        Spoon 1.0 3 CounterTop Drawer Drawer DiningTable SinkBasin
        Tomato 1.0 3 Fridge Fridge CounterTop CounterTop DiningTable SinkBasin GarbageCan
        Vase 0.15 2 Cabinet Shelf CounterTop
        WineBottle 0.4 3 CounterTop Cabinet DiningTable GarbageCan
    """),
)

LIVING_ROOM = Room(
    "living room",
    201,
    _furniture("""
        ArmChair 0.9 1 2
        Cabinet 0.15 2 6
        CoffeeTable 0.85 1 2
        DiningTable 0.45 1 1
        Drawer 0.8 1 8
        Dresser 0.4 1 1
        GarbageCan 1.0 1 1
        Ottoman 0.12 1 1
        Shelf 0.35 1 8
        SideTable 0.8 1 3
        Sofa 1.0 1 2
        TVStand 0.3 1 1
    """),
    _belongings("""
        Book 0.3 3 CoffeeTable Sofa Dresser ArmChair SideTable DiningTable
        Bowl 0.15 2 CoffeeTable DiningTable SideTable
        Box 0.9 2 Sofa CoffeeTable DiningTable SideTable ArmChair Cabinet
        CellPhone 0.25 3 Sofa Drawer CoffeeTable SideTable Dresser
        CreditCard 1.0 3 Sofa ArmChair CoffeeTable DiningTable Drawer Drawer SideTable Dresser
        DeskLamp 0.3 1 SideTable SideTable CoffeeTable
        KeyChain 1.0 3 CoffeeTable Drawer Drawer SideTable Sofa ArmChair DiningTable
        Laptop 1.0 2 Sofa CoffeeTable DiningTable Dresser SideTable
        Newspaper 0.6 3 Sofa CoffeeTable ArmChair DiningTable SideTable Shelf
        Pen 0.2 3 CoffeeTable Dresser SideTable Drawer
        Pencil 0.2 3 CoffeeTable SideTable Drawer GarbageCan
        Pillow 1.0 3 Sofa Sofa Sofa ArmChair
        Plate 0.35 2 DiningTable DiningTable CoffeeTable SideTable
        RemoteControl 1.0 3 CoffeeTable CoffeeTable Sofa SideTable ArmChair Dresser Drawer
        Statue 0.95 3 CoffeeTable SideTable DiningTable Shelf Dresser
        TissueBox 0.35 3 CoffeeTable SideTable DiningTable Shelf TVStand
        Vase 0.55 3 Shelf Shelf CoffeeTable SideTable DiningTable Dresser
        Watch 0.5 3 CoffeeTable Drawer SideTable DiningTable Dresser
        WateringCan 0.2 2 CoffeeTable Shelf
    """),
)

BEDROOM = Room(
    "bedroom",
    301,
    _furniture("""
        ArmChair 0.2 1 2
        Bed 1.0 1 2
        Cabinet 0.15 1 4
        Desk 0.8 1 2
        DiningTable 0.1 1 1
        Drawer 0.95 2 11
        Dresser 0.45 1 1
        GarbageCan 1.0 1 1
        LaundryHamper 0.3 1 1
        Safe 0.2 1 1
        Shelf 0.65 1 8
        SideTable 0.7 1 2
    """),
    _belongings("""
        AlarmClock 1.0 3 Desk Desk SideTable SideTable Shelf Dresser
        Book 1.0 2 Bed Bed Desk Drawer SideTable Dresser
        Bowl 0.45 2 Desk Shelf Dresser
        Box 0.2 1 Desk Shelf
        CD 1.0 3 Desk Drawer Drawer SideTable Dresser GarbageCan Shelf
        CellPhone 1.0 3 Bed Bed Desk Drawer SideTable Dresser Shelf Safe
        CreditCard 1.0 3 Drawer Drawer Desk Shelf SideTable Dresser ArmChair
        DeskLamp 0.7 1 Desk SideTable SideTable Dresser Shelf
        KeyChain 1.0 3 Drawer Drawer Desk SideTable Shelf Dresser Safe ArmChair
        Laptop 1.0 2 Bed Bed Desk Dresser
        Mug 0.5 2 Desk Shelf SideTable Dresser
        Pen 1.0 3 Desk Desk Drawer Shelf SideTable Dresser GarbageCan
        Pencil 1.0 3 Desk Drawer Shelf SideTable Dresser GarbageCan
        Pillow 1.0 3 Bed
        RemoteControl 0.12 2 Drawer Desk SideTable
        Statue 0.15 2 Shelf Dresser Desk
        TissueBox 0.15 2 Desk Drawer Shelf SideTable
        Vase 0.06 2 Shelf Dresser
        Watch 0.08 2 Drawer Shelf Desk
    """),
)

BATHROOM = Room(
    "bathroom",
    401,
    _furniture("""
        BathtubBasin 0.65 1 1
        Cabinet 0.45 2 6
        Cart 0.1 1 1
        CounterTop 0.85 1 1
        Drawer 0.6 1 8
        Dresser 0.1 1 1
        GarbageCan 1.0 1 1
        HandTowelHolder 1.0 1 2
        Shelf 0.25 1 4
        SideTable 0.08 1 1
        SinkBasin 1.0 1 2
        Toilet 1.0 1 1
        ToiletPaperHanger 1.0 1 1
        TowelHolder 1.0 1 2
    """),
    _belongings("""
        Candle 1.0 3 Toilet Toilet CounterTop CounterTop Cabinet Drawer Shelf SideTable
        Cloth 1.0 3 BathtubBasin Cabinet Drawer CounterTop SinkBasin
        DishSponge 0.25 2 CounterTop Drawer BathtubBasin SinkBasin
        HandTowel 1.0 2 HandTowelHolder
        SoapBar 1.0 3 CounterTop SinkBasin Toilet BathtubBasin Cabinet Drawer GarbageCan
        SoapBottle 1.0 3 CounterTop CounterTop Toilet Cabinet Shelf GarbageCan
        SprayBottle 1.0 3 CounterTop CounterTop Toilet Cabinet Shelf GarbageCan
        TissueBox 0.25 2 CounterTop Shelf Drawer
        ToiletPaper 1.0 3 Toilet CounterTop ToiletPaperHanger Cabinet Drawer GarbageCan
        Towel 1.0 1 TowelHolder
    """),
)

ROOMS = (KITCHEN, LIVING_ROOM, BEDROOM, BATHROOM)

OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
NOT_ALWAYS_OPENABLE = frozenset({"Cabinet", "Drawer", "Safe"})  # some have no door: what is in them lies open
SIDE_BY_SIDE = frozenset({"Cabinet", "Drawer", "Shelf", "StoveBurner"})  # often two are reached from one spot


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIXED = _names("DeskLamp")  # cannot be picked up
VESSELS = _names("Bowl Box Cup Mug Pan Plate Pot")
HEATABLE = _names("Apple Bread Cup Egg Mug Plate Potato Tomato")
COOLABLE = _names("Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle")
SLICEABLE = _names("Apple Bread Egg Lettuce Potato Tomato")
CLEANABLE = _names("""
    Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug Pan Plate Pot Potato SoapBar
    Spatula Spoon Tomato
""")

_SOFT = "Book Box CellPhone Cloth CreditCard KeyChain Laptop Newspaper Pillow RemoteControl"
_SMALL = "Book CD Candle CellPhone CreditCard KeyChain Newspaper Pen Pencil RemoteControl TissueBox Watch WateringCan"
_CUTLERY = "ButterKnife Fork Knife Spatula Spoon"
_FOOD = "Apple Egg Lettuce Potato Tomato"
_DISHES = "Bowl Cup Kettle Mug Pan Plate Pot"
_BATH = "Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle ToiletPaper"
_SHAKERS = "PepperShaker SaltShaker"
_SHOWN = "AlarmClock Bowl Box Laptop Mug Statue Vase"

# What can be put where: wider than where it is found.
FITS = {
    place: _names(things)
    for place, things in {
        "ArmChair": _SOFT,
        "BathtubBasin": "Cloth DishSponge HandTowel SoapBar",
        "Bed": "BaseballBat BasketBall Book CellPhone Laptop Pillow TennisRacket",
        "Cabinet": f"""{_DISHES} {_BATH} {_SHAKERS} Book Box CD Candle Glassbottle Ladle Newspaper TissueBox Vase
            WateringCan WineBottle""",
        "Cart": f"{_BATH} Candle TissueBox",
        "CoffeeMachine": "Mug",
        "CoffeeTable": f"{_SMALL} Bowl Box Laptop Plate Statue Vase",
        "CounterTop": f"""{_FOOD} {_DISHES} {_CUTLERY} {_SHAKERS} {_BATH} {_SHOWN} Book Bread CD Candle CellPhone
            CreditCard Glassbottle KeyChain Ladle Pen Pencil RemoteControl TissueBox WineBottle""",
        "Desk": f"{_SMALL} {_SHOWN} Cloth",
        "DiningTable": f"""{_FOOD} {_DISHES} {_CUTLERY} {_SHAKERS} {_SMALL} {_SHOWN} Bread Cloth DishSponge Glassbottle
            Ladle SoapBottle SprayBottle WineBottle""",
        "Drawer": f"{_SMALL} {_CUTLERY} {_SHAKERS} {_BATH} Ladle",
        "Dresser": f"{_SMALL} {_SHOWN} Cloth Plate SprayBottle ToiletPaper",
        "Fridge": f"{_FOOD} Bowl Bread Cup Glassbottle Mug Pan Plate Pot WineBottle",
        "GarbageCan": f"{_FOOD} {_BATH} Bread CD Newspaper Pen Pencil TissueBox WineBottle",
        "HandTowelHolder": "HandTowel",
        "LaundryHamper": "Cloth",
        "Microwave": "Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato",
        "Ottoman": _SOFT,
        "Safe": "CD CellPhone CreditCard KeyChain Statue Vase",
        "Shelf": f"{_BATH} {_SHAKERS} {_SMALL} {_SHOWN} Cup Glassbottle Kettle Plate Pot WineBottle",
        "SideTable": f"""{_FOOD} {_DISHES} {_CUTLERY} {_SHAKERS} {_BATH} {_SMALL} {_SHOWN} Bread WineBottle""",
        "SinkBasin": f"{_FOOD} {_DISHES} {_CUTLERY} Cloth DishSponge Glassbottle HandTowel Ladle SoapBar",
        "Sofa": _SOFT,
        "StoveBurner": "Kettle Pan Pot",
        "TVStand": "TissueBox",
        "Toaster": "",
        "Toilet": f"{_BATH} Candle TissueBox",
        "ToiletPaperHanger": "ToiletPaper",
        "TowelHolder": "Towel",
    }.items()
}
