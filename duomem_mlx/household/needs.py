"""What the household needs of a machine: ALFWorld's games, split by split."""

from pathlib import Path

from duomem_mlx.defaults import Need
from duomem_mlx.household.files import DATA_FOLDER, SPLITS, survey

NAME = "games"
FIX = "Run `duomem-mlx games fetch`, or set ALFWORLD_DATA; generated games (`--games generated:1:20`) need none."


def needs(root: Path) -> list[Need]:
    """How many games lie in ALFWorld's data folder, and what is wrong with the others."""
    counts, troubles = [], []
    for split in SPLITS:
        found = survey(root / DATA_FOLDER / split)
        if found.playable:
            counts.append(f"{split} {len(found.playable)}")
        if found.trouble:
            troubles.append(f"{split}: {found.trouble}")
    if not counts:
        return [Need(NAME, False, "; ".join([f"none of ALFWorld's in {root}", *troubles]), FIX)]
    found_here = [Need(NAME, True, f"{', '.join(counts)} in {root}")]
    if troubles:
        found_here.append(Need(NAME, False, "; ".join(troubles), "Fetch them again into an empty folder."))
    return found_here
