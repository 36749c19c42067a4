"""The two files: what is in them, that they are safe whatever the episodes say, and that they stay small."""

import base64
import gzip
import json
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.record import Memory, Source
from duomem_mlx.report.writing import write_report

from ..memory.hashing import HashingEncoder
from .folders import HOSTILE, hostile_games, many_games, results, two_games

GOLDEN = Path(__file__).parent / "golden" / "small.md"


class Elements(HTMLParser):
    """What a browser would make of a page, as far as the tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def data_of(page: str) -> dict:
    packed = page.split('id="data">')[1].split("<")[0]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_the_markdown_is_as_it_was(tmp_path):
    folder = results(tmp_path / "r", two_games(("base", "memories", "adapter", "duomem", "duomem.k4", "teacher")))
    written = write_report(folder, cause=lambda lost: "never found the object")
    found = written.markdown.read_text()
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(found)
        pytest.fail(f"{GOLDEN} was written: look at it")
    assert found == GOLDEN.read_text()


def test_the_same_results_give_the_same_bytes(tmp_path):
    folder = results(tmp_path / "r", two_games())
    first, second = (write_report(folder, tmp_path / name) for name in ("a", "b"))
    assert first.html.read_bytes() == second.html.read_bytes()


@pytest.fixture
def hostile(tmp_path) -> str:
    folder = results(tmp_path / "r", hostile_games(), model=HOSTILE)
    written = write_report(folder, cause=lambda lost: HOSTILE)
    assert "<script>" not in written.markdown.read_text()
    return written.html.read_text()


def test_hostile_texts_stay_texts(hostile):
    found = Elements(hostile)
    scripts = [text for tag, text in found.texts if tag == "script"]
    assert len(found.named("script")) == 2
    assert found.named("img") == []
    assert not any("alert" in text for text in scripts)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "49" not in "".join(text for tag, text in found.texts if tag in ("th", "h1"))
    one = data_of(hostile)["games"][0]
    assert one["task"] == one["episodes"]["base"]["steps"][0][0] == HOSTILE
    assert one["episodes"]["base"]["memories"] == [[HOSTILE, None]]


def test_the_page_is_whole_by_itself(hostile):
    found = Elements(hostile)
    links = [
        str(value)
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data")
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "@import" not in hostile
    assert "url(http" not in hostile
    assert "default-src 'none'" in str(found.named("meta"))


def test_what_a_screen_reader_goes_by(tmp_path):
    folder = results(tmp_path / "r", two_games(("base", "memories", "adapter", "duomem", "duomem.k4")))
    found = Elements(write_report(folder).html.read_text())
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))
    targets = {str(a.get("href"))[1:] for a in found.named("a")}
    targets |= {str(v) for _, a in found.tags for k, v in a.items() if k in ("aria-labelledby", "for")}
    assert targets <= set(ids)
    assert len(found.named("table")) == len(found.named("caption")) > 5
    assert all(cell.get("scope") in ("col", "row") for cell in found.named("th"))
    pictures = [a for _, a in found.tags if a.get("role") == "img"]
    assert len(pictures) == len(found.named("svg")) == len(found.named("figure")) == 5
    assert all(len(str(a["aria-label"])) > 60 for a in pictures)
    levels = [int(tag[1]) for tag, _ in found.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_memories_are_told_where_the_bank_is_at_hand(tmp_path):
    memory = Memory("find a mug", "Look on the shelf.", ("go to shelf 1",), Source("e", "g9", "train", "search", "t"))
    with Bank.create(tmp_path / "bank", HashingEncoder()) as bank:
        bank.add([memory])
        identity = bank.identity
    recalled = ({"id": memory.id, "cosine": 0.5}, {"id": "gone", "cosine": 0.25})
    played = [replace(one, memories=recalled) for one in two_games(("memories",))]
    folder = results(tmp_path / "r", played, memories="bank", memories_hash=identity)
    without, with_it = write_report(folder), write_report(folder, tmp_path / "o", bank=tmp_path / "bank")
    assert data_of(without.html.read_text())["memories"] == {}
    found = data_of(with_it.html.read_text())
    assert found["memories"] == {
        memory.id: {
            "task": "find a mug",
            "script": "Look on the shelf.",
            "steps": ["go to shelf 1"],
            "of": "search, g9",
        }
    }
    assert found["games"][0]["episodes"]["memories"]["memories"] == [[memory.id, 0.5], ["gone", 0.25]]
    assert "1 memories" not in without.markdown.read_text()
    assert "| memories |" in with_it.markdown.read_text()
    other = results(tmp_path / "other", played, memories="bank", memories_hash="another")
    with pytest.raises(UsageError, match="is not the bank that was evaluated"):
        write_report(other, bank=tmp_path / "bank")


def test_140_games_in_four_arms_stay_below_8_megabytes(tmp_path):
    folder = results(tmp_path / "r", many_games(140, ("base", "memories", "adapter", "duomem")))
    size = write_report(folder).html.stat().st_size
    assert size <= 8_000_000


def test_a_file_of_anothers_is_not_overwritten(tmp_path):
    folder = results(tmp_path / "r", two_games())
    write_report(folder)
    write_report(folder)
    (folder / "report.md").write_text("my own notes\n")
    with pytest.raises(UsageError, match=r"report\.md is there and is no report of ours"):
        write_report(folder)
    assert (folder / "report.md").read_text() == "my own notes\n"


def test_seeds_have_their_spread_in_a_table_and_their_games_in_the_viewer(tmp_path):
    more = {7: two_games(("duomem",)), 8: [replace(one, won=True) for one in two_games(("duomem",))]}
    written = write_report(results(tmp_path / "r", two_games(("base", "duomem")), more_seeds=more))
    text = written.markdown.read_text()
    assert "| duomem | 3: 0, 7, 8 | 66.7% | 28.9 | 50.0–100.0 |" in text
    assert "| duomem, seed 8 |" in text
    assert data_of(written.html.read_text())["arms"] == ["base", *(f"duomem, seed {n}" for n in (0, 7, 8))]


def test_evaluations_stand_side_by_side_and_are_compared_on_the_games_they_share(tmp_path):
    whole = results(tmp_path / "whole", two_games(("base", "adapter")))
    better = [replace(one, won=True, seconds=0.5) for one in two_games(("adapter", "duomem"))]
    packed = results(tmp_path / "packed", better[:1] + better[2:], finished=False)
    for folder, more in ((whole, {"dtype": "float32", "model_bytes": 538_000_000}), (packed, {"bits": 4})):
        path = folder / "summary.json"
        summary = json.loads(path.read_text()) if path.is_file() else {"format": 1, "model": "smollm2-135m"}
        path.write_text(json.dumps(summary | more))
    written = write_report(whole, beside=[packed])
    text = written.markdown.read_text()
    assert "| adapter | smollm2-135m, float32 | 538 | 50.0% " in text
    assert "| adapter | smollm2-135m, 4 bits, type not noted | – | 100.0% " in text
    assert "| adapter | smollm2-135m, 4 bits, type not noted | 1 | 0 | 0 | +0.0 " in text
    assert "Games in common with the first: 2." in text
    data = data_of(written.html.read_text())
    assert "smollm2-135m, 4 bits, type not noted: duomem" in data["arms"]
    _, second = data["games"]
    assert second["episodes"]["smollm2-135m, 4 bits, type not noted: duomem"]["won"]
    assert "smollm2-135m, 4 bits, type not noted: adapter" not in second["episodes"]


def test_evaluations_that_nothing_tells_apart_are_called_by_their_folders(tmp_path):
    folders = [results(tmp_path / name / "r", two_games()) for name in ("a", "b")]
    text = write_report(folders[0], tmp_path / "out", beside=folders[1:]).markdown.read_text()
    assert "1. r: smollm2-135m" in text
    assert "2. r: smollm2-135m" in text


def ids_of(page: str) -> list[str]:
    return [str(attributes["id"]) for _, attributes in Elements(page).tags if "id" in attributes]


def test_no_two_things_in_a_page_have_one_name(tmp_path):
    """A section and a control of the same id would be taken for one another."""
    folder = results(tmp_path / "r", two_games(), more_seeds={1: two_games(("adapter",))})
    other = results(tmp_path / "s", two_games(), model="another")
    page = write_report(folder, tmp_path / "out", lambda lost: "fell", beside=[other]).html.read_text()
    assert "side-by-side" in ids_of(page)
    assert len(ids_of(page)) == len(set(ids_of(page)))


def test_partial_scores_are_told_and_the_paper_is_not_beside_another_world(tmp_path):
    def half(episode):
        return replace(episode, score=1.0 if episode.won else 0.5)

    folder = results(tmp_path / "r", [half(e) for e in two_games()], env="scienceworld")
    other = results(tmp_path / "s", two_games(), env="scienceworld", model="another")
    written = write_report(folder, tmp_path / "out", beside=[other])
    page, text = written.html.read_text(), written.markdown.read_text()
    assert {e["score"] for game in data_of(page)["games"] for e in game["episodes"].values()} == {0.5, None}
    rows = [line.replace("\\", "") for line in text.splitlines()]
    assert any(row.endswith("| 0.0% [0.0–65.8] | 0.50 [0.50–0.50] | 30.0 | 1.50 | 12.0 | abacus |") for row in rows)
    assert "the paper" not in page + text
    assert "DuoMem" not in page.partition("<style>")[0] + text
