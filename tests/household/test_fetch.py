"""Fetching ALFWorld's archives from a server on this machine: whole, torn off, resumed, damaged and hostile."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household import fetch as fetching
from duomem_mlx.household import files
from duomem_mlx.household.fetch import check, fetch, fingerprint
from tests.household.rooms import write_game
from tests.loopback import need_loopback

GAMES, TASKS = fetching.ARCHIVES
PATHS = [
    "train/pick_and_place_simple-Pen-None-Desk-301/trial_1",
    "train/pick_and_place_simple-Pen-None-Desk-301/trial_2",
    "valid_seen/pick_and_place_simple-Pen-None-Desk-302/trial_3",
    "valid_unseen/pick_and_place_simple-Pen-None-Desk-310/trial_4",
]


class Server(ThreadingHTTPServer):
    """Hands out `files`; of a name in `cuts` it sends that many bytes and hangs up, once."""

    def __init__(self) -> None:
        need_loopback()
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.busy = False
        self.cuts: dict[str, int] = {}
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        wanted = self.headers.get("Range")
        self.server.asked.append((name, wanted))
        data = self.server.files.get(name)
        if self.server.busy:
            self.send_error(503)
            return
        if data is None:
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if begin >= len(data) > 0 and begin:
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin:][: self.server.cuts.pop(name, None)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def world(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ALFWorld's release with four games, known and counted as its real one; an empty data folder for them."""
    made = tmp_path / "release" / files.DATA_FOLDER
    for seed, path in enumerate(PATHS):
        write_game(made / path, seed=6 * seed)
    known = {fingerprint(path, files.read_game_file(made / path / files.GAME_FILE)) for path in PATHS[:3]}
    monkeypatch.setattr(files, "EXPECTED", {"train": 2, "valid_seen": 1, "valid_unseen": 1})
    monkeypatch.setattr(fetching, "_known", lambda: frozenset(known))
    server.files[GAMES] = archive(made, files.GAME_FILE)
    # A task that ALFWorld has no game of lies in its archive of tasks.
    write_game(made / "train" / "pick_and_place_simple-Pen-None-Desk-301" / "no_game")
    server.files[TASKS] = archive(made, files.TASK_FILE)
    return tmp_path / "data"


def archive(folder: Path, name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob(name)):
            packed.write(path, Path(files.DATA_FOLDER) / path.relative_to(folder))
    return data.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as written:
        for name, content in members.items():
            written.writestr(name, content)
    return data.getvalue()


def test_all_games_come_and_are_checked(world: Path, server: Server) -> None:
    stages = []
    checks = fetch(world, server.url, lambda stage, done, total: stages.append(stage))

    assert [(c.split, c.games, c.whole) for c in checks] == [
        ("train", 2, True),
        ("valid_seen", 1, True),
        ("valid_unseen", 1, True),
    ]
    assert sorted(p.parent.name for p in world.rglob(files.TASK_FILE)) == ["trial_1", "trial_2", "trial_3", "trial_4"]
    assert not (world / ".fetching").exists()
    assert "unpacking game.tw-pddl" in stages
    assert list(files.find_games(world, "train")) == PATHS[:2]


def test_what_is_whole_is_not_fetched_again(world: Path, server: Server) -> None:
    fetch(world, server.url)
    server.asked.clear()
    assert all(split.whole for split in fetch(world, server.url))
    assert server.asked == []


def test_a_download_that_was_cut_off_goes_on(world: Path, server: Server) -> None:
    server.cuts[GAMES] = 1000
    with pytest.raises(DuomemError, match="goes on where it stopped"):
        fetch(world, server.url)
    assert (world / ".fetching" / f"{GAMES}.part").stat().st_size == 1000

    assert all(split.whole for split in fetch(world, server.url))
    assert server.asked == [(GAMES, None), (GAMES, "bytes=1000-"), (TASKS, None)]


def test_a_server_that_cannot_resume_sends_it_all_again(world: Path, server: Server) -> None:
    server.ranges = False
    server.cuts[GAMES] = 1000
    with pytest.raises(DuomemError):
        fetch(world, server.url)
    assert all(split.whole for split in fetch(world, server.url))


def test_an_archive_that_came_whole_before_the_stop_is_used(world: Path, server: Server) -> None:
    part = world / ".fetching" / f"{GAMES}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files[GAMES])
    assert all(split.whole for split in fetch(world, server.url))


def test_games_that_were_spoilt_are_mended_and_the_others_stay(world: Path, server: Server) -> None:
    fetch(world, server.url)
    places = [world / files.DATA_FOLDER / path / files.GAME_FILE for path in PATHS]
    stale = json.loads(places[0].read_text())
    del stale["solvable"]
    places[0].write_text(json.dumps(stale))
    places[1].write_bytes(places[1].read_bytes()[:500])
    changed = json.loads(places[2].read_text())
    places[2].write_text(json.dumps({**changed, "pddl_problem": changed["pddl_problem"].replace("Pen", "Cup")}))
    kept = json.loads(places[3].read_text())
    places[3].write_text(json.dumps(kept, indent=1))
    found = check(world)
    assert [(c.games, c.changed) for c in found] == [(0, ()), (1, (PATHS[2],)), (1, ())]

    assert all(split.whole for split in fetch(world, server.url))
    assert places[3].read_text() == json.dumps(kept, indent=1)


def test_what_is_no_archive_is_thrown_away(world: Path, server: Server) -> None:
    good = server.files[GAMES]
    server.files[GAMES] = b"<html>please log in</html>"
    with pytest.raises(DuomemError, match="no archive"):
        fetch(world, server.url)
    server.files[GAMES] = good
    assert all(split.whole for split in fetch(world, server.url))


def test_a_damaged_archive_is_thrown_away(world: Path, server: Server) -> None:
    good = server.files[GAMES]
    server.files[GAMES] = good[:200] + bytes(50) + good[250:]
    with pytest.raises(DuomemError, match="damaged"):
        fetch(world, server.url)
    server.files[GAMES] = good
    assert all(split.whole for split in fetch(world, server.url))


def test_nothing_is_written_outside_of_the_data_folder(world: Path, server: Server) -> None:
    game = b"{}"
    server.files[GAMES] = packed(
        {
            "json_2.1.1/../../../evil/game.tw-pddl": game,
            "/etc/json/train/a/game.tw-pddl": game,
            "json_2.1.1/train/../../game.tw-pddl": game,
            "json_2.1.1/elsewhere/a/b/game.tw-pddl": game,
            "json_2.1.1/train/a/b/c/game.tw-pddl": game,
            "other/train/a/b/game.tw-pddl": game,
        }
    )
    checks = fetch(world, server.url)

    assert not any(split.games for split in checks)
    assert [path.name for path in world.parent.rglob("*.tw-pddl") if "release" not in path.parts] == []


def test_no_server_and_no_file_are_one_sentence(world: Path, server: Server) -> None:
    with pytest.raises(UsageError, match=r"404 .*--from"):
        fetch(world, f"{server.url}/nowhere")
    server.server_close()
    with pytest.raises(DuomemError, match="stopped"):
        fetch(world, "http://127.0.0.1:1")


@pytest.mark.parametrize("source", ["nonsense", "file:///nope", "ftp://host/folder", "https://", "/tmp", ""])
def test_what_is_no_source_is_told_at_once(world: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError, match=r"json_2\.1\.2_tw-pddl\.zip.*as https://HOST/FOLDER or file:///FOLDER"):
        fetching.fetch(tmp_path / "empty", source)


def test_a_busy_server_is_asked_again_later(world: Path, server: Server) -> None:
    server.busy = True
    with pytest.raises(DuomemError, match=r"503 .*goes on where it stopped") as told:
        fetch(world, server.url)
    assert told.value.exit_status == 1
    server.busy = False
    assert all(split.whole for split in fetch(world, server.url))


def test_a_folder_that_cannot_be_written_is_one_sentence(world: Path, server: Server) -> None:
    world.write_text("a file in the folder's place")
    with pytest.raises(DuomemError, match="cannot be written"):
        fetch(world, server.url)


@pytest.mark.slow
def test_the_games_unpacked_here_are_the_known_ones(alfworld_data: Path) -> None:
    for split in check(alfworld_data):
        assert split.changed == ()
