"""The two sets of rules ALFWorld's games were made with, known by the text of their domain and grammar."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from duomem_mlx.household.files import GameFile, without_task

HEATING = frozenset({"microwavetype"})
COOLING = frozenset({"fridgetype"})
BLADES = frozenset({"knifetype", "butterknifetype"})


@dataclass(frozen=True)
class Generation:
    """What one set of rules does otherwise than the other."""

    name: str
    put_words: tuple[str, str]  # before the thing and before the place, as a command says it
    put_told: str  # what is said of it
    arrive_at_location: bool  # on arrival the location is named, not the place
    help: str | None
    washing: frozenset[str]  # types of place where things get clean


_HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""

MOVE = Generation(
    name="move X to Y (ALFWorld 0.4 on)",
    put_words=("move", " to "),
    put_told="You move the {thing} to the {place}.",
    arrive_at_location=False,
    help=_HELP,
    washing=frozenset({"sinkbasintype"}),
)
PUT = Generation(
    name="put X in/on Y (ALFWorld's data 2.1.1)",
    put_words=("put", " in/on "),
    put_told="You put the {thing} in/on the {place}.",
    arrive_at_location=True,
    help=None,
    washing=frozenset({"sinkbasintype", "sinktype"}),
)

_KNOWN = {
    (
        "f1473041ed01da514de1f87adfd7ef0804862361f83ccf63c75e43633b0eb280",
        "c294eb280206a4428664cdb4e2037e267e86de5b7fa862212718a961513a7de4",
    ): MOVE,
    (
        "34172c333dff7e62eb90e85367fa5519b5f31b3849e56123d96dbc0deda50e27",
        "de0a5951f63a9b4f91f174c56b77d639d55d935b828aa39d92a156b1670e0a5a",
    ): PUT,
}


def generation_of(file: GameFile) -> Generation | None:
    """The rules a game was made with; None when its domain or grammar is of neither generation."""
    return _KNOWN.get((_digest(file.domain), _digest(without_task(file.grammar))))


@lru_cache(maxsize=8)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
