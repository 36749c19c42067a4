"""On-policy rounds against plain imitation at equal training tokens, from one starting adapter, on held-out games.

    python scripts/bench_on_policy.py FOLDER --trajectories TEACH --begin ADAPTER [--first 800] [--games 96]
        [--rounds 2] [--rate 0.5] [--evaluate 100] [--minutes M] [--json]

TEACH is what `teach --games train` wrote. The starting adapter was trained on the first `--first` games of that order,
whole floor plans held out, as its duomem.json says. Both arms go on from it with later games, none of a floor plan that
is held out, without memories:

    on-policy   in each round the student plays `--games` games, is corrected, and trains on that
    imitation   in each round the teacher's own trajectories of so many games that the tokens are as many

Rates, batch size and seeds are the same. Then all play the first `--evaluate` training games of the held-out floor
plans. The same call goes on where it stopped, a larger `--evaluate` plays more; with `--minutes` it stops by itself
(status 75 while something is left to do).
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

OURS, PLAIN, START = "on-policy", "imitation", "start"


@dataclass(frozen=True)
class Bench:
    """What both arms share."""

    folder: Path
    environment: Any
    begin: Path  # the starting adapter
    pool: Sequence[Any]  # the teacher's trajectories of the games to train on
    games: Sequence[str]  # to be measured on
    course: Any
    in_time: Callable[[], None]  # raises KeyboardInterrupt when time is up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trajectories", type=Path, required=True)
    parser.add_argument("--begin", required=True)
    parser.add_argument("--first", type=int, default=800)
    parser.add_argument("--games", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--evaluate", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        bench = prepared(options)
        adapters = {OURS: on_policy(bench), PLAIN: imitation(bench), START: bench.begin}
        found = table(play(bench, adapters), bench.folder)
    except KeyboardInterrupt:
        print("Stopped; the same call goes on.", file=sys.stderr)
        sys.exit(75)
    (options.folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found) if options.json else text_of(found))


def prepared(options: argparse.Namespace) -> Bench:
    from duomem_mlx.environment import find_environment, ordered
    from duomem_mlx.student.adapters import record
    from duomem_mlx.student.agent import adapter_folder, writer_for
    from duomem_mlx.training.on_policy import Course, Rounds
    from duomem_mlx.training.rows import split_held_out
    from duomem_mlx.training.settings import TrainSettings
    from duomem_mlx.trajectory import read_trajectories

    until = time.monotonic() + 60 * options.minutes

    def in_time() -> None:
        if time.monotonic() > until:
            raise KeyboardInterrupt

    environment: Any = find_environment("household")
    begin = adapter_folder(options.begin)
    known = record(begin)["settings"]
    order = ordered(environment, "train")
    first = set(order[: options.first])
    taught = [one for one in read_trajectories(options.trajectories) if one.won]
    seen = [one for one in taught if one.game in first]
    _, held = split_held_out(seen, known["held_out"], lambda one: environment.place(one.game), known["seed"])
    plans = {environment.place(one.game) for one in held}
    pool = [one for one in taught if one.game not in first and environment.place(one.game) not in plans]
    games = [game for game in order if environment.place(game) in plans]
    say(f"{len(plans)} floor plans held out, {len(games)} games on them; {len(pool)} further games to train on")
    settings = TrainSettings(batch_size=known["batch_size"], learning_rate=known["learning_rate"], k=0, held_out=0.0)
    rounds = Rounds(options.rounds, options.games, width=16, rate=options.rate)
    course = Course(environment, environment.teacher, lambda s: writer_for(s, environment), settings, rounds)
    return Bench(options.folder, environment, begin, pool, games[: options.evaluate], course, in_time)


def on_policy(bench: Bench) -> Path:
    """The folder of the adapter after the last on-policy round."""
    from duomem_mlx.training.fit import is_finished
    from duomem_mlx.training.on_policy import go_round

    folder = bench.folder / OURS

    def watch(number: int, played: int) -> None:
        say(f"round {number}: {played} games played")
        bench.in_time()

    if not is_finished(folder):
        copy_adapter(bench.begin, folder / "rounds" / "0")
        games = [one.game for one in bench.pool]
        go_round(folder, games, bench.course, load, lambda *what: fit_in(bench, *what), watch)
    return folder


def imitation(bench: Bench) -> Path:
    """The folder of the adapter after as many rounds of imitation, each with as many tokens as its counterpart."""
    from duomem_mlx.training.fit import Prepared, is_finished
    from duomem_mlx.training.rows import Epoch, make_epoch

    settings, rounds = bench.course.settings, bench.course.rounds
    settings = replace(settings, learning_rate=settings.learning_rate * rounds.rate)
    before, used = bench.begin, 0
    for number in range(1, rounds.rounds + 1):
        counterpart = json.loads((bench.folder / OURS / "rounds" / str(number) / "duomem.json").read_text())
        tokens = 0
        student = load(before)
        rows: list[Any] = []
        for row in make_epoch(bench.pool[used:], bench.course.writer(student), max_tokens=settings.max_seq_length).rows:
            if tokens >= counterpart["data"]["tokens"]:
                break
            rows.append(row)
            tokens += len(row.tokens)
        used += len(rows)
        here = bench.folder / PLAIN / "rounds" / str(number)
        if not is_finished(here):
            fit_in(bench, here, student, Prepared((Epoch(tuple(rows)),), (), len(rows), 0), settings)
        before = here
    return before


def fit_in(bench: Bench, here: Path, student: Any, rows: Any, settings: Any) -> None:
    from duomem_mlx.training.fit import add_adapter_layers, fit

    def report(now: Any) -> None:
        if now.step % 5 == 0:
            say(f"{here}: step {now.step} of {now.steps}, loss {now.loss:.4f}, {now.tokens_per_second:.0f} tokens/s")
        bench.in_time()

    fit(student, add_adapter_layers(student, settings), rows, settings, here, report)


def play(bench: Bench, adapters: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Episodes by arm and game. The arms take turns, so that what is there when it is stopped can be compared."""
    from duomem_mlx.evaluation.arms import Arm
    from duomem_mlx.evaluation.results import finished_games, read_episodes
    from duomem_mlx.evaluation.runner import Job, Run, play_job
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.episodes import PlaySettings

    settings = PlaySettings(width=16)
    run = Run(bench.folder, bench.environment, bench.games, "train", None, (0,), 0, settings)
    agents: dict[str, Any] = {}
    for begin in range(0, len(bench.games), 32):
        for arm, adapter in adapters.items():
            done = finished_games(bench.folder, arm, 0)
            left = [game for game in bench.games[begin : begin + 32] if game not in done]
            if left and arm not in agents:
                student = load(adapter)
                agents[arm] = Agent(student, bench.course.writer(student), bench.environment, None, 0, settings)
            for _ in play_job(run, Job(Arm(arm, True, "none"), 0, arm, 0), left, agents[arm]) if left else ():
                bench.in_time()
        say(f"{min(begin + 32, len(bench.games))} of {len(bench.games)} games played by all")
    played = read_episodes(bench.folder, bench.games)
    return {arm: {episode.game: episode for episode in played[arm][0]} for arm in adapters}


def table(played: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    from duomem_mlx.evaluation.statistics import discordant, mcnemar, wilson

    won = {arm: {game: bool(one.won) for game, one in episodes.items()} for arm, episodes in played.items()}
    found: dict[str, Any] = {}
    for arm, episodes in played.items():
        steps = [step for one in episodes.values() for step in one.steps]
        alone, theirs = discordant(won[arm], won[PLAIN])
        found[arm] = {
            "games": len(episodes),
            "won": sum(won[arm].values()),
            "wilson95": [round(bound, 3) for bound in wilson(sum(won[arm].values()), len(episodes))],
            "refused": round(sum("refused" in step.flags for step in steps) / len(steps), 3),
            "steps_mean": round(sum(len(one.steps) if one.won else 30 for one in episodes.values()) / len(episodes), 2),
            "won_alone": alone,
            "imitation_alone": theirs,
            "p": mcnemar(alone, theirs),
            "tokens": list(trained_tokens(folder / arm)),
        }
    return found


def trained_tokens(folder: Path) -> Iterator[int]:
    for path in sorted(folder.glob("rounds/*/duomem.json")):
        if path.parent.name != "0":
            yield json.loads(path.read_text())["data"]["tokens"]


def text_of(found: Mapping[str, Any]) -> str:
    lines = [f"{'':10}  {'won':>9}  {'95%':>14}  {'steps':>6}  {'refused':>7}  {'alone':>9}  {'p':>6}  tokens a round"]
    for arm, of in found.items():
        low, high = of["wilson95"]
        lines.append(
            f"{arm:10}  {of['won']:4}/{of['games']:<4}  {low:6.1%}–{high:6.1%}  {of['steps_mean']:6.2f}"
            f"  {of['refused']:7.1%}  {of['won_alone']:3} : {of['imitation_alone']:<3}  {of['p']:6.3f}"
            f"  {', '.join(map(str, of['tokens'])) or '–'}"
        )
    return "\n".join([*lines, "alone: games won by this arm and not by imitation : the other way round; p: McNemar's"])


def load(adapter: Path) -> Any:
    from duomem_mlx.student.models import load_student

    return load_student(None, adapter=adapter)


def copy_adapter(before: Path, after: Path) -> None:
    after.mkdir(parents=True, exist_ok=True)
    for name in ("adapter_config.json", "adapters.safetensors", "duomem.json"):
        shutil.copyfile(before / name, after / name)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import duomem_mlx.training  # noqa: F401  (loads OpenBLAS before MLX)

    main()
