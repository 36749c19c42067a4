"""The package's gold paths as a student can learn from them."""

from collections.abc import Sequence

LOOK = "look around"
ENTER = "go to "
OPEN_DOOR = "open door to "


def readable(path: Sequence[str]) -> list[str]:
    """A gold path that opens no door, since with our simplifications all are open, and looks around in every place
    before it names what is there: the package's own knows names that nobody was told."""
    kept = [action for action in path if not action.startswith(OPEN_DOOR)]
    told = list[str]()
    for place, action in enumerate(kept):
        told.append(action)
        after = kept[place + 1] if place + 1 < len(kept) else LOOK
        if action.startswith(ENTER) and after != LOOK and not after.startswith(ENTER):
            told.append(LOOK)
    return told
