"""Choosing tokens otherwise than greedily: what is promised of each way, on tiny random students."""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import UsageError
from duomem_mlx.student import episodes
from duomem_mlx.student.decoding import ADMISSIBLE, GRAMMAR, Choice, Decoding
from duomem_mlx.student.episodes import Entry, PlaySettings, Turn, play
from duomem_mlx.student.serve.drawing import Draw
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.student.transcript import make_writer as make_writer_of

from . import tiny

SETTINGS = PlaySettings(max_steps=6, max_tokens=8, width=3)


@pytest.fixture(scope="module")
def student() -> tiny.TinyStudent:
    return tiny.TinyStudent(tiny.model(), tiny.tokenizer())


class Picky(tiny.Echo):
    """Refuses whatever does not name the number of the turn."""

    def step(self, action: str) -> str:
        super().step(action)
        return "No." if str(len(self.acted)) not in action else f"Yes, {len(self.acted)}."

    def valid_commands(self) -> list[str]:
        return [f"say {len(self.acted) + 1}", f"sing {len(self.acted) + 1}"]


def played(student: Any, decoding: Decoding, width: int = 3, style: str = prompt.COMPACT, **more: Any) -> Any:
    writer = make_writer(student.tokenizer, style, "Act.")
    found: dict[str, list[Turn]] = defaultdict(list)
    entries = [Entry(f"g{n}", Picky(f"g{n}", n)) for n in (9, 3, 9, 5)]
    settings = replace(SETTINGS, width=width, decoding=decoding, max_tokens=24 if style == prompt.CHAT else 12)
    for number, entry in enumerate(entries):
        entries[number] = replace(entry, key=f"{entry.key}.{number}")
    for turn in play(student, writer, entries, settings, lambda told: told == "No.", **more):
        found[turn.key].append(turn)
    return found


def said(turns: Any) -> dict[str, list[str]]:
    return {key: [turn.said for turn in of_game] for key, of_game in turns.items()}


@pytest.mark.parametrize("style", prompt.STYLES)
@pytest.mark.parametrize("actions", [GRAMMAR, ADMISSIBLE])
def test_only_what_is_allowed_is_said(student, style, actions):
    def grammar(texts):
        return [f"{verb} {len(texts)}" for verb in ("say", "sing")]  # as the game itself has it

    found = played(student, Decoding(actions=actions), style=style, commands=grammar)
    for turns in found.values():
        for number, turn in enumerate(turns, 1):
            assert turn.action in (f"say {number}", f"sing {number}")
            assert turn.flags == ()


def test_of_two_allowed_answers_the_likelier_continuation_is_taken(student):
    chosen = Choice(Decoding(actions=GRAMMAR), (0, 0), [[5, 6, 7], [5, 9, 7]])
    scores = mx.zeros(258)
    scores[100], scores[9], scores[6] = 9.0, 2.0, 1.0
    assert chosen.next([5], scores) == 9
    assert chosen.next([5, 6], scores) == 7  # all that is left


class FewWords:
    """Reads one of a few actions into whatever is said."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read(self, tokens):
        return prompt.Reply(f"hum {'abcde'[sum(tokens) % 5]}")


def test_an_action_just_refused_is_not_said_again(student, monkeypatch):
    monkeypatch.setitem(globals(), "make_writer", lambda *given: FewWords(make_writer_of(*given)))
    plain, other = played(student, Decoding()), played(student, Decoding(avoid_refused=True))
    repeats = Counter()
    for name, found in (("plain", plain), ("other", other)):
        for turns in found.values():
            refused: set[str] = set()
            for turn in turns:
                repeats[name] += turn.action in refused
                if "changed" in turn.flags:
                    repeats["changed"] += 1
                refused = {*refused, turn.action} if "refused" in turn.flags else set()
    assert repeats["changed"]
    assert repeats["other"] < repeats["plain"]  # of five words all may have been refused, or three tries not be enough
    for key, turns in other.items():  # the first refused action of a game is what plain decoding says
        assert turns[0].action == plain[key][0].action


def test_what_replaced_an_answer_is_what_a_fresh_cache_says_too(student):
    """The history goes on from the answer that stands; nothing of the one taken back is left in the cache."""
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    turns = played(student, Decoding(avoid_refused=True), width=1)["g9.0"]
    tokens = writer.start(turns[0].observation, ())
    for before, after in pairwise(turns):
        answer = writer.action(before.action) if "cut" not in before.flags else None
        if answer is None or "changed" in after.flags or before.said != before.action:
            return  # what was tokenized otherwise cannot be told from the text
        tokens += answer + writer.observation(before.outcome)
        spoken: list[int] = []
        while len(spoken) < 12 and not (spoken and spoken[-1] in writer.stop_tokens):
            spoken.append(int(mx.argmax(student.model(mx.array([tokens + spoken]))[0, -1]).item()))
        assert (writer.read(spoken).action or "") == after.action


@pytest.mark.parametrize("way", ["by rows", "in rounds"])
def test_sampling_follows_the_seed_and_nothing_else(student, way, monkeypatch):
    if way == "in rounds":
        monkeypatch.setattr(episodes, "fed_by_rows", lambda model: None)
    warm = Decoding(temp=1.5, seed=3)
    found = said(played(student, warm))
    assert found == said(played(student, warm, width=1))
    assert found != said(played(student, replace(warm, seed=4)))
    assert found != said(played(student, Decoding()))


def test_sampled_tokens_have_the_probabilities_they_should():
    scores = mx.array([2.0, 1.0, 0.0, -1.0])
    drawn = [Choice(Decoding(temp=0.7, seed=seed), (1, 2)).next([], scores) for seed in range(3000)]
    wanted = np.exp(np.array([2.0, 1.0, 0.0, -1.0]) / 0.7)
    assert np.bincount(drawn, minlength=4) / 3000 == pytest.approx(wanted / wanted.sum(), abs=0.03)
    few = {Choice(Decoding(temp=1, top_p=0.6, seed=seed), (1, 2)).next([], scores) for seed in range(200)}
    assert few == {0}


@pytest.mark.parametrize("temp", [1e-300, 1e-40, 1e-9])
def test_however_cold_it_is_the_best_token_stays(temp):
    scores = mx.array([-3.0, 41.5, 41.4, 0.0])
    assert Choice(Decoding(temp=temp), (1, 2)).next([], scores) == 1
    assert Draw(temp, None, 0)(scores).item() == Draw(temp, 0.9, 0)(scores).item() == 1


@pytest.mark.parametrize(
    "wrong", [{"temp": -1}, {"temp": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"actions": "x"}]
)
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        Decoding(**wrong)


def test_an_aid_that_cannot_be_had_is_told(student, monkeypatch):
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")

    def start(decoding, refused=None):
        entries = [Entry("g", tiny.Echo("g", 3))]
        return list(play(student, writer, entries, replace(SETTINGS, decoding=decoding), refused))

    with pytest.raises(UsageError, match="no grammar"):
        start(Decoding(actions=GRAMMAR))
    with pytest.raises(UsageError, match="which commands are valid"):
        start(Decoding(actions=ADMISSIBLE))
    with pytest.raises(UsageError, match="which actions were refused"):
        start(Decoding(avoid_refused=True))
    monkeypatch.setattr(episodes, "fed_by_rows", lambda model: None)
    with pytest.raises(UsageError, match="cannot be gone back in"):
        start(Decoding(avoid_refused=True), lambda told: False)


@pytest.mark.parametrize("answer", [lambda texts: 1 / 0, lambda texts: [3], lambda texts: None])
@pytest.mark.parametrize("after", [1, 2])
def test_a_grammar_that_breaks_ends_its_own_game_only(student, answer, after):
    def grammar(texts):
        odd = len(texts) == after and texts[0].startswith("g3")
        return answer(texts) if odd else [f"{verb} {len(texts)}" for verb in ("say", "sing")]

    class Named(Picky):
        def reset(self):
            return f"{self.id}: {super().reset()}"

    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    entries = [Entry(f"g{n}", Named(f"g{n}", n)) for n in (9, 3, 5)]
    settings = replace(SETTINGS, width=3, decoding=Decoding(actions=GRAMMAR), max_tokens=12)
    ends = {turn.key: turn.end for turn in play(student, writer, entries, settings, None, grammar)}
    assert ends.pop("g3") == "environment"
    assert "environment" not in ends.values()
    assert None not in ends.values()
