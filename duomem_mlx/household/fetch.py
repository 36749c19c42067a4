"""ALFWorld's own download, as much of it as the text games need: resumable, and checked by what the files hold.

No sums of the archives are published, and other tools write the same games as other bytes, so a game is known by a
hash of its problem and its task.
"""

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household import files
from duomem_mlx.paths import PACKAGE, disk_faults

RELEASES = "https://github.com/alfworld/alfworld/releases/download"
# Archive -> the release it belongs to, and what is taken out of it; the games first, so that only their tasks follow.
ARCHIVES = {
    "json_2.1.2_tw-pddl.zip": ("0.4.0", files.GAME_FILE),
    "json_2.1.1_json.zip": ("0.2.2", files.TASK_FILE),
}
LARGEST_MEMBER_BYTES = 16 << 20
CHUNK_BYTES = 1 << 20
KNOWN = PACKAGE / "household" / "known_games.txt"
KNOWN_SPLITS = ("train", "valid_seen")  # of the test games only the number is known

Progress = Callable[[str, int, int | None], None]  # what, done so far, of how many


@dataclass(frozen=True)
class Check:
    """How a split on disk compares with ALFWorld's."""

    split: str
    games: int
    expected: int
    changed: tuple[str, ...]  # ids of games whose problem or task is not the one known; [] where none is known

    @property
    def whole(self) -> bool:
        return self.games == self.expected and not self.changed


def fetch(root: Path, source: str | None = None, progress: Progress = lambda what, done, total: None) -> list[Check]:
    """Fetch what is missing of ALFWorld's games into the data folder `root`, and check the three splits.

    `source`: the URL of a folder with the archives, in place of ALFWorld's releases. Games that are there and whole
    stay. Raises UsageError when `source` is no such URL, DuomemError when the network or the disk fails; what came so
    far is kept, the next call goes on.
    """
    if source is not None:
        _check_source(source)
    checks = check(root, progress)
    if all(split.whole for split in checks):
        return checks
    for name, (release, wanted) in ARCHIVES.items():
        url = f"{source.rstrip('/')}/{name}" if source else f"{RELEASES}/{release}/{name}"
        archive = _download(url, root / ".fetching" / name, progress)
        _unpack(archive, wanted, root, progress)
    checks = check(root, progress)
    if all(split.games == split.expected for split in checks):
        shutil.rmtree(root / ".fetching", ignore_errors=True)
    return checks


def _check_source(source: str) -> None:
    kind, colon, rest = source.partition("://")
    if not (colon and rest.strip("/") and kind in ("http", "https", "file")):
        raise UsageError(f"{source} is no URL.", _A_SOURCE)
    if kind == "file" and not any(Path(url2pathname(urlsplit(source).path), name).is_file() for name in ARCHIVES):
        raise UsageError(f"{source} holds none of ALFWorld's archives.", _A_SOURCE)


def check(root: Path, progress: Progress = lambda what, done, total: None) -> list[Check]:
    """Count the playable games of each split and compare each with the one known."""
    checks = []
    for split, expected in files.EXPECTED.items():
        folder = root / files.DATA_FOLDER / split
        found = files.survey(folder).playable if folder.is_dir() else {}
        changed = []
        for place, (game_id, game) in enumerate(found.items()):
            progress(f"checking {split}", place + 1, len(found))
            if not _is_known(game_id, game):
                changed.append(game_id)
        checks.append(Check(split, len(found), expected, tuple(changed)))
    return checks


def fingerprint(game_id: str, file: files.GameFile) -> str:
    """Ten hex digits that tell a game by its id, problem and task, not by its file's bytes."""
    return hashlib.sha256("\n".join((game_id, file.problem, file.task_line)).encode()).hexdigest()[:10]


def _is_known(game_id: str, folder: Path) -> bool:
    split = game_id.partition("/")[0]
    if split not in KNOWN_SPLITS:
        return True
    try:
        return fingerprint(game_id, files.read_game_file(folder / files.GAME_FILE)) in _known()
    except DuomemError:
        return False


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(KNOWN.read_text(encoding="ascii").splitlines()[1:])


def _download(url: str, target: Path, progress: Progress) -> Path:
    """The archive at `url`, at `target`; begun downloads go on where they stopped."""
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part")
    with disk_faults(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        begun = part.stat().st_size if part.is_file() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
                begun = 0
            length = answer.headers.get("Content-Length")
            total = begun + int(length) if length else None
            done = begun
            for chunk in _chunks(answer):
                with disk_faults(part), part.open("ab" if done else "wb") as file:
                    file.write(chunk)
                done += len(chunk)
                progress(f"{target.name}, MB", done >> 20, total and total >> 20)
            if total is not None and done < total:
                raise http.client.IncompleteRead(b"", total - done)
    except urllib.error.HTTPError as error:
        if error.code == 416 and begun:  # nothing is left to send
            return _finished(part, target)
        if error.code >= 500 or error.code in (408, 429):
            raise DuomemError(f"The server of {url} is busy: {error.code} {error.reason}.", _LATER) from None
        raise UsageError(f"{url} cannot be fetched: {error.code} {error.reason}.", _OTHER_WAY) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise DuomemError(f"The download of {url} stopped: {reason}.", _LATER) from None
    return _finished(part, target)


_LATER = "The same command again goes on where it stopped."
_A_SOURCE = f"Name a folder with {' and '.join(ARCHIVES)}, as https://HOST/FOLDER or file:///FOLDER."
_OTHER_WAY = "Name a mirror with --from, or play generated games: `duomem-mlx games list embedded`."


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk


def _finished(part: Path, target: Path) -> Path:
    if not zipfile.is_zipfile(part):
        part.unlink()
        raise DuomemError(f"What came as {target.name} is no archive.", "Run the same command again.")
    part.replace(target)
    return target


def _unpack(archive: Path, wanted: str, root: Path, progress: Progress) -> None:
    """Lay out the archive's files named `wanted` below `root`; those that are there stay."""
    try:
        with zipfile.ZipFile(archive) as whole:
            members = [(member, place) for member in whole.infolist() if (place := _place(member, wanted, root))]
            for number, (member, place) in enumerate(members, 1):
                progress(f"unpacking {wanted}", number, len(members))
                if _stays(place):
                    continue
                data = whole.read(member)
                with disk_faults(place):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    part = place.with_name(f".{place.name}.{os.getpid()}")
                    part.write_bytes(data)
                    part.replace(place)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        archive.unlink(missing_ok=True)
        raise DuomemError(f"The archive {archive.name} is damaged: {error}.", "Run the same command again.") from None


def _stays(place: Path) -> bool:
    """Whether a file is there and whole, or is the task of a game that ALFWorld has no file of."""
    if place.name == files.TASK_FILE:
        return place.is_file() or not place.with_name(files.GAME_FILE).is_file()
    return files.is_whole(place.parent) and _is_known(files.game_id(place.parent), place.parent)


def _place(member: zipfile.ZipInfo, wanted: str, root: Path) -> Path | None:
    """Where a member of the archive belongs: json_2.1.1/SPLIT/TASK/TRIAL/NAME and nowhere else."""
    parts = PurePosixPath(member.filename).parts
    if len(parts) != 5 or parts[4] != wanted or parts[1] not in files.SPLITS:
        return None
    if not parts[0].startswith("json_2.1") or ".." in parts or member.file_size > LARGEST_MEMBER_BYTES:
        return None
    return root / files.DATA_FOLDER / Path(*parts[1:])
