"""The page in a real browser, used by its keyboard."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.report.writing import write_report

from .folders import HOSTILE, hostile_games, many_games, results

ARMS = ("base", "memories", "adapter", "duomem")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
SHOTS = "DUOMEM_SCREENSHOTS"  # a folder; screenshots are kept there


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install -e '.[dev]'")
    found = next(filter(None, map(shutil.which, NAMES)), None) or (str(ON_A_MAC) if ON_A_MAC.exists() else None)
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if not (found or Path(own).exists()):
            pytest.skip("no Chromium here: apt install chromium, or python -m playwright install chromium")
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = results(tmp_path_factory.mktemp("results") / "r", many_games(140, ARMS))
    return write_report(folder, cause=lambda lost: "wrong place" if len(lost.task) % 2 else "wrong object").html


class Opened:
    """A page, and what it complained of and asked for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(120_000)  # a busy machine fails no test
        inside = self.context.new_cdp_session(self.page)
        inside.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        measured = {one["name"]: one["value"] for one in inside.send("Performance.getMetrics")["metrics"]}
        self.seconds = float(measured["TaskDuration"])  # of the processor, whatever else it does

    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.id"))

    def tab_to(self, id_: str) -> None:
        """Reach an element by the Tab key alone."""
        for _ in range(80):
            if self.focused() == id_:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {id_}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    page = Opened(browser, report)
    yield page
    assert page.complaints == []
    assert page.requests == [report.as_uri()]
    page.context.close()


def test_it_opens_quickly_and_asks_for_nothing(opened: Opened, report: Path) -> None:
    print(f"{report.stat().st_size / 1e6:.2f} MB, opened in {opened.seconds:.2f} s")
    assert report.stat().st_size < 8e6
    assert 0 < opened.seconds < 2
    assert opened.text("#count") == "140 of 140 games"


def test_the_first_key_skips_to_the_content(opened: Opened) -> None:
    opened.press("Tab")
    assert opened.page.evaluate("document.activeElement.className") == "skip"
    opened.press("Enter")
    assert opened.focused() == "content"


def test_steps_by_keys_and_by_buttons(opened: Opened) -> None:
    opened.tab_to("stage")
    length = int(opened.page.get_attribute("#slider", "max"))
    opened.press("ArrowRight", "ArrowRight")
    assert opened.text("#where") == f"Step 2 of {length}"
    assert "What it did" in opened.text("#sides")
    assert opened.page.text_content("#said").startswith(f"Step 2 of {length}. go to")
    opened.press("ArrowLeft")
    assert opened.text("#where") == f"Step 1 of {length}"
    opened.press("End")
    assert opened.text("#where") == f"Step {length} of {length}"
    opened.press("ArrowRight", "Home")
    assert opened.text("#where").startswith("Opening")
    opened.tab_to("slider")
    opened.press("ArrowRight")
    assert opened.text("#where") == f"Step 1 of {length}"
    opened.tab_to("on")
    opened.press("Enter")
    assert opened.text("#where") == f"Step 2 of {length}"
    opened.tab_to("last")
    opened.press("Space")
    assert opened.text("#where") == f"Step {length} of {length}"
    assert opened.focused() == "stage"  # the button that had the focus is off now
    opened.page.focus("#back")
    opened.press("Enter")
    assert opened.text("#where") == f"Step {length - 1} of {length}"
    opened.page.focus("#first")
    opened.press("Enter")
    assert opened.text("#where").startswith("Opening")


def test_filters_leave_the_games_they_say(opened: Opened) -> None:
    def count() -> int:
        return int(opened.text("#count").split()[0])

    opened.tab_to("arm")
    opened.press("b")  # base, by typing ahead
    assert opened.page.input_value("#arm") == "base"
    opened.tab_to("outcome")
    opened.press("ArrowDown")
    won = count()
    opened.press("ArrowDown")
    assert opened.page.input_value("#outcome") == "lost"
    assert won + count() == 140
    assert 0 < won < 20
    lost = count()
    opened.tab_to("why")
    opened.press("ArrowDown")
    assert 0 < count() <= lost
    opened.press("Home")
    assert count() == lost
    opened.tab_to("type")
    opened.press("ArrowDown")
    assert 0 < count() < lost
    opened.tab_to("search")
    opened.page.keyboard.type("no such words")
    assert count() == 0
    assert not opened.page.is_visible("#stage")
    opened.tab_to("clear")
    opened.press("Enter")
    assert count() == 140
    opened.tab_to("games")
    opened.press("ArrowDown", "ArrowDown")
    assert opened.page.evaluate("document.getElementById('games').selectedIndex") == 2
    opened.tab_to("search")
    opened.page.keyboard.type("TRIAL_ pick_two")
    assert 40 < count() < 50


def test_two_arms_side_by_side(opened: Opened) -> None:
    opened.tab_to("arm")
    opened.press("b")
    opened.tab_to("beside")
    opened.press("d")
    assert opened.page.locator(".side h4").all_inner_texts() == ["base", "duomem"]
    opened.tab_to("outcome")
    opened.press("End", "ArrowUp", "ArrowUp")
    assert opened.page.input_value("#outcome") == "b"
    assert opened.page.locator(".side .badge:first-of-type").all_inner_texts()[:1] == ["not won"]
    opened.page.focus("#stage")
    opened.press("End")
    assert "It was over after" in opened.text(".side:last-child")


def test_what_is_folded_opens_and_stays_open(opened: Opened) -> None:
    opened.page.locator("summary").first.focus()
    opened.press("Enter", "ArrowRight")
    assert opened.page.locator("details").first.evaluate("box => box.open")
    opened.page.locator("details[data-key=all-0] > summary").focus()
    opened.press("Enter", "Tab", "Tab", "Enter")
    assert opened.text("#where").startswith("Step 2 of")
    assert opened.page.evaluate("document.activeElement.getAttribute('aria-current')") == "step"


def test_hostile_texts_are_shown_and_do_nothing(browser: Any, tmp_path: Path) -> None:
    folder = results(tmp_path / "r", hostile_games(), model=HOSTILE)
    file = write_report(folder, cause=lambda lost: HOSTILE).html
    opened = Opened(browser, file)
    page = opened.page
    page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
    page.select_option("#beside", "base")
    page.focus("#stage")
    opened.press("End")
    page.evaluate("document.querySelectorAll('details').forEach(box => box.open = true)")
    assert page.text_content("#task") == HOSTILE
    assert page.locator(".act").all_text_contents() == [HOSTILE, HOSTILE]
    assert page.locator("img, script:not([id]) ~ *").count() == 0
    assert (opened.complaints, opened.requests) == ([], [file.as_uri()])
    opened.context.close()


def test_several_evaluations_and_seeds_with_partial_scores_on_a_phone(browser: Any, tmp_path: Path) -> None:
    def graded(seed: int) -> list[Any]:
        return [replace(e, score=float(e.won) or 0.25) for e in many_games(6, ARMS, seed)]

    seeds = {1: [one for one in graded(0) if one.arm in ("adapter", "duomem")]}
    folder = results(tmp_path / "r", graded(0), more_seeds=seeds, env="scienceworld")
    other = results(tmp_path / "s", graded(0), env="scienceworld", model="another-model-with-quite-a-long-name")
    file = write_report(folder, tmp_path / "out", beside=[other]).html
    opened = Opened(browser, file, viewport={"width": 390, "height": 844})
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.text("#side-by-side") == "Side by side"
    assert page.input_value("#arm").endswith(": duomem, seed 0")
    page.select_option("#outcome", "lost")
    page.select_option("#beside", index=2)
    assert "score 0.25" in opened.text("#games option:first-child")
    assert "score 0.25" in opened.text(".side header")
    page.focus("#stage")
    opened.press("End")
    page.screenshot(path=Path(os.environ.get(SHOTS, tmp_path)) / "several-390.png", full_page=True)
    assert (opened.complaints, opened.requests) == ([], [file.as_uri()])
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_both_colour_schemes_and_a_phone(browser: Any, report: Path, scheme: str, width: int, tmp_path: Path) -> None:
    opened = Opened(browser, report, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = opened.page
    page.select_option("#beside", "adapter")
    page.focus("#stage")
    opened.press("ArrowRight", "ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    paper, ink = (sum(map(int, c[4:-1].split(", "))) for c in page.evaluate(colours))
    assert (paper > 600 and ink < 150) if scheme == "light" else (paper < 150 and ink > 600)
    picture = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert page.evaluate(picture) == page.evaluate("getComputedStyle(document.body).color")
    folder = Path(os.environ.get(SHOTS, tmp_path))
    page.screenshot(path=folder / f"{scheme}-{width}.png", full_page=True)
    opened.tab_to("theme")  # wraps round to the top
    other = "dark" if scheme == "light" else "light"
    opened.press(other[0])
    assert page.evaluate("document.documentElement.dataset.theme") == other
    turned, _ = (sum(map(int, c[4:-1].split(", "))) for c in page.evaluate(colours))
    assert (turned > 600) == (scheme == "dark")
    assert opened.complaints == []
    opened.context.close()
