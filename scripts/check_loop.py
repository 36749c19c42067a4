"""Does what the turn loop saves change what the student says, and does it keep to its memory? The default student with
its shipped adapter and memories, on real games.

    python scripts/check_loop.py tokens [--limit 20]     # carried caches, one by one and together, beside mlx-lm alone
    python scripts/check_loop.py float16 [--limit 20]    # how far half precision leads away from float32
    python scripts/check_loop.py memory [--limit 200]    # resident size, game after game, one by one and together

`tokens`: every answer is also computed by mlx-lm's own `generate_step`, from the whole history and without a cache of
earlier turns. Where a token differs the two most likely ones are told with the difference of their logits there: two
orders of summing may disagree about a near-tie. `memory`: what the process holds, and how much of it is not the caches
of games in play, are to be flat from the second look to the last one at which all seats are taken. Exit status 1 where
a token differs, or memory grows.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ADAPTER, BANK = "smollm2-135m-alfworld", "alfworld-search"
EVERY = 10  # games between two looks at the memory
MOST_GROWTH = 1.05  # times: the last look against the second one, on the line that fits them while all seats are taken
Said = dict[str, Any]  # of a game: its answers as token ids, and how it ended


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=("tokens", "float16", "memory"))
    parser.add_argument("--games", default="train")
    parser.add_argument("--limit", type=int, help="games [default: 20; 200 for memory]")
    parser.add_argument("--k", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=30)
    parser.add_argument("--width", type=int, default=16, help="games played together")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("played", "from scratch", "looked at"), help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.limit = options.limit or (200 if options.check == "memory" else 20)
    if options.check == "memory" and options.limit < (least := 3 * EVERY + options.width):
        parser.error(f"memory needs a --limit of {least} at least")
    if options.part:
        parts = {"played": played, "from scratch": from_scratch, "looked at": looked_at}
        print(json.dumps(parts[options.part](options)))
        return 0
    found, lines = {"tokens": tokens, "float16": float16, "memory": memory}[options.check](options.width)
    print(json.dumps(found) if options.json else "\n".join(lines))
    return int(not found["holds"])


def asked(part: str, width: int, dtype: str = "float32") -> Any:
    """What a process of its own finds: how many threads a product takes is settled when it starts."""
    environment = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    environment |= ONE_THREAD if width > 1 else {}
    print(f"{part}, {dtype}, {width} at a time …", file=sys.stderr, flush=True)
    call = [sys.executable, __file__, *sys.argv[1:], "--part", part, "--width", str(width), "--dtype", dtype]
    return json.loads(subprocess.run(call, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def tokens(width: int) -> tuple[dict[str, Any], list[str]]:
    wanted = asked("from scratch", 1)
    lines = [f"{'':12} {'games':>6} {'won':>4} {'answers':>8} {'tokens':>7}  games with another token"]
    lines.append(row("from scratch", wanted))
    found: dict[str, Any] = {"from scratch": wanted}
    for name, wide in (("one by one", 1), ("together", width)):
        said = found[name] = asked("played", wide)
        parted = found[f"{name}, parted"] = [one for game in wanted if (one := parting(game, wanted[game], said[game]))]
        lines.append(f"{row(name, said)}  {len(parted)}")
        lines += [f"  {one['game']}, turn {one['turn']}, token {one['token']}: {one['margin']}" for one in parted]
    found["holds"] = not any(found[f"{name}, parted"] for name in ("one by one", "together"))
    return found, lines


def float16(width: int) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {dtype: asked("played", width, dtype) for dtype in ("float32", "float16")}
    lines = [f"{'':12} {'games':>6} {'won':>4} {'answers':>8} {'tokens':>7}"]
    lines += [row(dtype, said) for dtype, said in found.items()]
    whole, half = found.values()
    parted = [one for game in whole if (one := parting(game, whole[game], half[game]))]
    found |= {"parted": parted, "holds": True}
    lines.append(f"games in which float16 says something else: {len(parted)} of {len(whole)}")
    lines += [f"  {one['game']}, from turn {one['turn']} on" for one in parted]
    return found, lines


def row(name: str, said: dict[str, Said]) -> str:
    answers = [answer for one in said.values() for answer in one["said"]]
    won = sum(one["end"] == "won" for one in said.values())
    return f"{name:12} {len(said):6} {won:4} {len(answers):8} {sum(map(len, answers)):7}"


def parting(game: str, wanted: Said, said: Said) -> dict[str, Any] | None:
    """Where two ways of playing a game part, counted from 1; None where they never do."""
    for turn, (one, other) in enumerate(zip(wanted["said"], said["said"], strict=False)):
        if one != other:
            at = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
            known = at is not None and "closest" in wanted
            margin = wanted["closest"][turn][at] if known else None
            return {"game": game, "turn": turn + 1, "token": None if at is None else at + 1, "margin": margin}
    if len(wanted["said"]) != len(said["said"]) or wanted["end"] != said["end"]:
        return {"game": game, "turn": len(said["said"]) + 1, "token": None, "margin": None}
    return None


class Heard:
    """A writer that keeps the tokens of the answer it has just read."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.tokens: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)

    def read(self, tokens: Sequence[int]) -> Any:
        self.tokens = list(tokens)
        return self.writer.read(tokens)


def agent_of(options: argparse.Namespace) -> Any:
    from dataclasses import replace

    from duomem_mlx import Bank, load_agent
    from duomem_mlx.paths import shipped
    from duomem_mlx.student.models import load_student

    agent = load_agent(ADAPTER, memories=Bank.open(shipped("memories", BANK)), k=options.k)
    if options.dtype != "float32":
        agent = replace(agent, student=load_student(adapter=shipped("adapters", ADAPTER), dtype=options.dtype))
    return replace(agent, settings=replace(agent.settings, max_steps=options.max_steps, width=options.width))


def entries(agent: Any, options: argparse.Namespace) -> Iterator[Any]:
    from duomem_mlx.environment import ordered
    from duomem_mlx.student.agent import examples
    from duomem_mlx.student.episodes import Entry

    for task in ordered(agent.environment, options.games, options.limit):
        game = agent.environment.open(task)
        yield Entry(task, game, examples(agent.recall(game)))


def turns(agent: Any, writer: Any, options: argparse.Namespace) -> Iterator[Any]:
    from duomem_mlx.student.episodes import play

    for turn in play(agent.student, writer, entries(agent, options), agent.settings):
        if turn.end:
            print(f"  {turn.key}: {turn.end}", file=sys.stderr, flush=True)
        yield turn


def played(options: argparse.Namespace) -> dict[str, Said]:
    """By game what the loop says."""
    agent = agent_of(options)
    writer = Heard(agent.writer)
    found: dict[str, Said] = {}
    for turn in turns(agent, writer, options):  # a turn comes right after its answer was read
        one = found.setdefault(turn.key, {"said": [], "end": None})
        one["said"].append(writer.tokens)
        one["end"] = turn.end
    return found


def from_scratch(options: argparse.Namespace) -> dict[str, Said]:
    """By game what mlx-lm says, given the whole history at every turn."""
    from duomem_mlx.student.episodes import NO_ACTION, fitted

    agent = agent_of(options)
    writer, settings = agent.writer, fitted(agent.settings, agent.student, agent.writer)
    found: dict[str, Said] = {}
    for entry in entries(agent, options):
        one: Said = {"said": [], "closest": [], "end": "steps"}
        history = writer.start(entry.game.reset(), entry.examples)
        while len(one["said"]) < settings.max_steps:
            answer, closest = answered(agent.student, history, settings.max_tokens, writer.stop_tokens)
            one["said"].append(answer)
            one["closest"].append(closest)
            reply = writer.read(answer)
            outcome = NO_ACTION if reply.action is None else entry.game.step(reply.action)
            if entry.game.done:
                one["end"] = "won" if entry.game.won else "lost"
                break
            closing = [] if answer[-1] in writer.stop_tokens else writer.closing()
            history = [*history, *answer, *closing, *writer.observation(outcome)]
        print(f"  {entry.key}: {one['end']}", file=sys.stderr, flush=True)
        found[entry.key] = one
    return found


def answered(student: Any, history: list[int], most: int, stops: frozenset[int]) -> tuple[list[int], list[str]]:
    """An answer's tokens, and for each of them the two most likely ones and how far apart they are."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    answer, closest = [], []
    for token, scores in generate_step(mx.array(history), student.model, max_tokens=most):
        second, first = mx.argsort(scores)[-2:].tolist()
        names = [student.tokenizer.decode([one]) for one in (first, second)]
        closest.append(f"{names[0]!r} before {names[1]!r} by {(scores[first] - scores[second]).item():.1e}")
        answer.append(int(token))
        if token in stops:
            break
    return answer, closest


def memory(width: int) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {name: asked("looked at", wide) for name, wide in (("one by one", 1), ("together", width))}
    head = " ".join(f"{name + ', MB':>15} {'arrays':>7} {'caches':>7} {'spare':>6}" for name in found)
    lines = [f"{'games':>6} {head}"]
    for looks in zip(*found.values(), strict=True):
        cells = " ".join(
            f"{look['resident']:15.0f} {look['arrays']:7.0f} {look['caches']:7.0f} {look['spare']:6.0f}"
            for look in looks
        )
        lines.append(f"{looks[0]['games']:6} {cells}")
    grown = {}
    for name, looks in found.items():
        full = [look for look in looks[1:] if look["full"]]
        whole = grown[name] = growth([look["resident"] for look in full])
        rest = grown[f"{name}, less the caches"] = growth([look["resident"] - look["caches"] for look in full])
        lines.append(f"{name}: on the line that fits {len(full)} looks {whole:.3f} times, less the caches {rest:.3f}")
    found["growth"], found["holds"] = grown, all(times <= MOST_GROWTH for times in grown.values())
    return found, lines


def growth(after: list[float]) -> float:
    slope, start = statistics.linear_regression(range(len(after)), after)
    return (start + slope * (len(after) - 1)) / start


def looked_at(options: argparse.Namespace) -> list[dict[str, float]]:
    """MB every ten games: the process's resident size, MLX's arrays, the caches among them, and MLX's buffers that
    wait to be used again; `full` is 1 while no seat is left empty."""
    import gc

    import mlx.core as mx
    import psutil

    from duomem_mlx.student.ragged import Row

    agent = agent_of(options)
    looks: list[dict[str, float]] = []
    over = 0
    for turn in turns(agent, agent.writer, options):
        over += turn.end is not None
        if turn.end is not None and over % EVERY == 0:
            sizes = {
                "resident": psutil.Process().memory_info().rss,
                "arrays": mx.get_active_memory(),
                "caches": sum(row.nbytes for row in gc.get_objects() if isinstance(row, Row)),
                "spare": mx.get_cache_memory(),
            }
            full = int(over <= options.limit - options.width + 1)
            looks.append(
                {"games": over, "full": full, **{what: round(size / 2**20, 1) for what, size in sizes.items()}}
            )
    return looks


if __name__ == "__main__":
    import duomem_mlx.student  # noqa: F401  (loads OpenBLAS before MLX)

    sys.exit(main())
