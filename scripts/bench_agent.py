"""What the turn loop saves: a carried cache beside a full prefill every turn, and many games together beside one at a
time, with the default student on real games.

Turns: the same conversation, 30 actions long, in both prompt styles. At each turn are timed the new tokens with the
cache carried along, the whole history from nothing (as loops do that prompt anew every turn; by the same quick path, so
that only the carrying differs), the new tokens in a "bare" pass of the model on mlx-lm's own cache, which holds the
history: what no loop can do without; and the new tokens alone, with nothing before them, which shows what share of a
turn the attention to the history is. Medians over the games.

Games: all of them played through, once one after the other with all threads in a product, as `run` does it, once
together with a thread a game, as `evaluate` does it; without memories and with four. The same actions are said.

Below the figures stand those that are wanted, at turn 20, or the last one before it that was timed, and of all the
games; exit status 1 where one is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TOLD = (2, 5, 10, 20, 30)
WANTED_AT = 20  # the turn that the wanted figures are of, or the last one before it that was timed
FASTER = {"chat": 20.0, "compact-1": 8.0}  # times a full prefill, at least
BESIDE = 1.15  # times the new tokens in a bare pass, at most
TOGETHER = {0: 2.5, 4: 1.5}  # by memories: times the games a minute of one at a time, at least


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", default="train")
    parser.add_argument("--limit", type=int, default=24, help="games played through")
    parser.add_argument("--talks", type=int, default=3, help="conversations timed turn by turn")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("turns", "together", "alone"), help=argparse.SUPPRESS)
    parser.add_argument("--memories", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns < TOLD[0] or min(options.limit, options.talks) < 1:
        parser.error(f"--turns is {TOLD[0]} at least, --limit and --talks 1")
    if options.part:
        print(json.dumps(turns(options) if options.part == "turns" else games(options)))
        return 0
    found: dict[str, Any] = {"turns": asked("turns"), "games": {}}
    for memories in (0, 4):
        ways = {part: asked(part, "--memories", str(memories)) for part in ("alone", "together")}
        found["games"][memories] = {**ways, "ratio": ways["alone"]["seconds"] / ways["together"]["seconds"]}
        found["games"][memories]["same"] = ways["alone"].pop("said") == ways["together"].pop("said")
    found["wanted"] = wanted(found)
    print(json.dumps(found) if options.json else table(found))
    return int(not all(one["holds"] for one in found["wanted"]))


def asked(part: str, *more: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    environment |= ONE_THREAD if part == "together" else {}
    print(f"{part} {' '.join(more)} …", file=sys.stderr, flush=True)
    call = [sys.executable, __file__, *sys.argv[1:], "--part", part, *more]
    return json.loads(subprocess.run(call, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def turns(options: argparse.Namespace) -> dict[str, Any]:
    from duomem_mlx import Bank
    from duomem_mlx.environment import find_environment, ordered
    from duomem_mlx.paths import shipped
    from duomem_mlx.prompt import STYLES
    from duomem_mlx.student.agent import examples, recalled, writer_for
    from duomem_mlx.student.models import load_student
    from duomem_mlx.student.ragged import Row, Rows

    environment: Any = find_environment("household")
    student = load_student()
    bare = Bare(student.model)
    rows, bank = Rows(student.model), Bank.open(shipped("memories", "alfworld-search"))
    tasks = ordered(environment, options.games, options.talks)

    def timed(row: Row, tokens: list[int]) -> float:
        began = time.perf_counter()
        rows.feed([row], [tokens])
        return time.perf_counter() - began

    found = {}
    for style in STYLES:
        writer = writer_for(student, environment, style)
        at: dict[int, list[tuple[int, int, float, float, float, float]]] = {}
        for task in tasks:
            game = environment.open(task)
            history = writer.start(game.reset(), examples(recalled(bank, game, 4)))
            row = Row()
            rows.feed([row], [history])
            places = [one for one in game.valid_commands() if one.startswith("go to")]
            for turn in range(2, options.turns + 1):
                action = places[turn % len(places)]
                new = writer.action(action) + writer.observation(game.step(action))
                history = history + new
                carried = timed(row, new)
                if turn in TOLD:
                    whole = min(timed(Row(), history) for _ in range(2))
                    alone = min(timed(Row(), new) for _ in range(3))
                    carried = min(carried, *(again(rows, row, new) for _ in range(2)))
                    least = bare.seconds(history[: -len(new)], new)
                    at.setdefault(turn, []).append((len(history), len(new), carried, whole, alone, least))
        found[style] = {
            turn: [statistics.median(column) for column in zip(*told, strict=True)] for turn, told in at.items()
        }
    return found


class Bare:
    """One pass of a model of llama's kind, its head on the last token alone."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def seconds(self, history: list[int], new: list[int]) -> float:
        from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

        from duomem_mlx.student import cpu

        cache = make_prompt_cache(self._model)
        with cpu.quick():
            self._pass(history, cache)
            found = []
            for _ in range(3):
                began = time.perf_counter()
                self._pass(new, cache)
                found.append(time.perf_counter() - began)
                trim_prompt_cache(cache, len(new))
        return min(found)

    def _pass(self, tokens: list[int], cache: Any) -> None:
        import mlx.core as mx

        hidden = self._model.model(mx.array([tokens]), cache=cache)[:, -1:]
        mx.eval(self._model.model.embed_tokens.as_linear(hidden).argmax(-1), *(one.state for one in cache))


def again(rows: Any, row: Any, tokens: list[int]) -> float:
    """The same turn once more; the cache is as it was afterwards."""
    row.length -= len(tokens)
    began = time.perf_counter()
    rows.feed([row], [tokens])
    return time.perf_counter() - began


def games(options: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import replace

    from duomem_mlx import Bank, load_agent
    from duomem_mlx.environment import ordered
    from duomem_mlx.paths import shipped
    from duomem_mlx.student.agent import examples
    from duomem_mlx.student.episodes import Entry, play

    bank = Bank.open(shipped("memories", "alfworld-search"))
    agent = load_agent("smollm2-135m-alfworld", memories=bank, k=options.memories)
    entries = []
    for task in ordered(agent.environment, options.games, options.limit):
        game = agent.environment.open(task)
        entries.append(Entry(task, game, examples(agent.recall(game))))
    width = 1 if options.part == "alone" else options.limit
    settings = replace(agent.settings, width=width)
    said: dict[str, list[str]] = {}
    began = time.perf_counter()
    for turn in play(agent.student, agent.writer, entries, settings):
        said.setdefault(turn.key, []).append(turn.said)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "games": len(entries), "games_per_minute": 60 * len(entries) / seconds, "said": said}


def wanted(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, beside what was found."""
    rows = []
    for style, turns_of in found["turns"].items():
        turn = max((turn for turn in turns_of if int(turn) <= WANTED_AT), key=int)
        _, _, carried, whole, _, bare = turns_of[turn]
        rows += [
            (f"{style}, turn {turn}: full prefill / carried", whole / carried, "≥", FASTER[style]),
            (f"{style}, turn {turn}: carried / bare pass", carried / bare, "≤", BESIDE),
        ]
    for memories, ways in found["games"].items():
        count = ways["alone"]["games"]
        rows.append((f"{count} games, {memories} memories: together / alone", ways["ratio"], "≥", TOGETHER[memories]))
        rows.append((f"{count} games, {memories} memories: all said the same", float(ways["same"]), "≥", 1.0))
    return [
        {"what": what, "found": is_, "bar": f"{way} {bar:g}", "holds": is_ >= bar if way == "≥" else is_ <= bar}
        for what, is_, way, bar in rows
    ]


def table(found: dict[str, Any]) -> str:
    lines = [
        f"{'style, turn':16} {'tokens':>7} {'new':>5} {'carried':>9} {'whole':>9} {'ratio':>7} {'bare':>9} ratio"
        f" {'new alone':>10} ratio"
    ]
    for style, turns_of in found["turns"].items():
        for turn, (length, new, carried, whole, alone, bare) in turns_of.items():
            lines.append(
                f"{style:11} {turn:4} {length:7.0f} {new:5.0f} {carried:8.3f}s {whole:8.3f}s {whole / carried:6.1f}×"
                f" {bare:8.3f}s {carried / bare:5.2f} {alone:9.3f}s {carried / alone:5.2f}"
            )
    lines.append(f"\n{'memories':16} {'alone':>14} {'together':>14} {'ratio':>7}  same actions")
    for memories, ways in found["games"].items():
        alone, together = (f"{ways[way]['games_per_minute']:.1f} games/min" for way in ("alone", "together"))
        lines.append(
            f"{memories:<16} {alone:>14} {together:>14} {ways['ratio']:6.2f}×  {'yes' if ways['same'] else 'no'}"
        )
    lines.append("")
    for one in found["wanted"]:
        lines.append(f"{one['what']:46} {one['found']:6.2f}  wanted {one['bar']:6}  {'' if one['holds'] else 'MISSED'}")
    return "\n".join(lines)


if __name__ == "__main__":
    import duomem_mlx.student  # noqa: F401  (loads OpenBLAS before MLX)

    sys.exit(main())
