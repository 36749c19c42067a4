"""`duomem-mlx run`: one game, live."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from duomem_mlx.cli import options, output, wiring, writers

if TYPE_CHECKING:
    from duomem_mlx.environment import Game
    from duomem_mlx.memory.bank import Bank, Hit
    from duomem_mlx.memory.growth import Learned
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.episodes import Turn
    from duomem_mlx.trajectory import Episode


def run(
    context: typer.Context,
    games: options.Games = "embedded",
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = "household",
    number: options.GameNumber = 1,
    model: options.Model = None,
    adapter: options.Adapter = None,
    memories: options.Memories = None,
    k: options.K = None,
    max_steps: options.MaxSteps = 30,
    prompt_style: options.PromptStyle = None,
    max_tokens: options.MaxTokens = None,
    temp: options.Temp = 0.0,
    top_p: options.TopP = 1.0,
    avoid_refused: options.AvoidRefused = False,
    actions: options.Actions = "free",
    seed: options.Seed = 0,
    learn: options.Learn = None,
    allow_side_effects: options.SideEffects = False,
    json: options.Json = False,
) -> None:
    """Play one game: the task, the memories recalled, every action and what came of it, the verdict.

    Without options it plays an embedded game with the shipped adapter and memories. With --learn the bank, a live
    one, learns from it.
    """
    parts = Parts()
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import UsageError
    from duomem_mlx.guarded import guarded
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.decoding import Decoding
    from duomem_mlx.student.episodes import PlaySettings
    from duomem_mlx.trajectory import measures

    decoding = Decoding(temp, top_p, seed, avoid_refused, actions)
    environment = wiring.open_environment(env, games_dir, engine)
    wiring.may_play(environment, allow_side_effects)
    tasks = ordered(environment, games)
    if number > len(tasks):
        raise UsageError(f"--number is {number}, but {games!r} holds {len(tasks)} games.", "Name a smaller one.")
    game = guarded(environment.open(tasks[number - 1]))
    parts.done("game")
    folder = wiring.adapter_path(adapter, model)
    k = usual_k(folder) if k is None else k
    bank = wiring.open_bank(memories, environment, model) if k else None
    learning = None if learn is None else writers.learning(environment, learn)
    if learning is not None and (bank is None or bank.sealed):
        raise UsageError(
            "There is no bank here that could learn." if bank is None else f"The bank {bank.path} is sealed.",
            "Name a live one with --memories; `memories import` makes a live copy of a sealed one.",
        )
    if learning is not None and measures(game.split):
        output.say(
            "Careful: this game is for evaluation; with what the bank learns from it no figure will mean anything."
        )
    parts.done("bank")
    settings = PlaySettings(max_tokens=max_tokens, decoding=decoding)
    agent = wiring.agent(environment, model, folder, bank, k, prompt_style, settings)
    parts.done("student")
    turns: list[Turn] = []
    hits = agent.recall(game)
    parts.done("recall")
    record = play_live(agent, game, hits, max_steps, parts, turns.append, quiet=json)
    if learning is not None and bank is not None:
        from duomem_mlx.evaluation.growing import learn_from
        from duomem_mlx.evaluation.runner import episode_of

        episode = episode_of(environment, "run", k, game, turns[0].observation, turns, hits, agent)
        learnt = learn_from(episode, bank, learning, agent, run_name(episode))
        record["learnt"] = asdict(learnt)
        tell_learnt(learnt, bank)
    if json:
        output.result(record)
    else:
        named = {"--games": games, **options.given(context, *options.OF_A_GAME, "k"), "--limit": 20}
        output.hint(output.call("evaluate", named=named))


class Parts:
    """Where the time to the first action goes, by name in seconds, the interpreter's own start included."""

    def __init__(self) -> None:
        from duomem_mlx.student.machine import process_age

        self.seconds = {"interpreter": process_age()}
        self._last = time.perf_counter()

    def done(self, name: str) -> None:
        """What went on since the last one was `name`; only the first time counts."""
        now = time.perf_counter()
        self.seconds.setdefault(name, now - self._last)
        self._last = now


def run_name(episode: "Episode") -> str:
    """Under which a bank knows this episode: the same game played the same way with the same memories is no news."""
    from duomem_mlx.paths import digest

    return f"run/{episode.id}/{digest([memory['id'] for memory in episode.memories])[:16]}"


def tell_learnt(learnt: "Learned", bank: "Bank") -> None:
    counts = {"kept": learnt.added, "rewritten": learnt.rewritten, "removed": learnt.removed}
    told = ", ".join(f"{len(ids)} {what}" for what, ids in counts.items() if ids) or "nothing new"
    output.say(f"The bank {bank.path} learnt from it: {told}; {len(bank)} memories.")


def play_live(
    agent: "Agent",
    game: "Game",
    hits: "Sequence[Hit]",
    max_steps: int,
    parts: Parts,
    watch: "Callable[[Turn], object]",
    quiet: bool = False,
) -> dict[str, Any]:
    """Play and print as it comes; the record is what `--json` prints. `hits` are the memories recalled, `parts`
    what has been done since the command began, `watch` is told every turn."""
    show = output.say if quiet else output.line
    opening = game.reset()
    show(f"Game     {game.id}")
    show(f"Task     {game.task}")
    for hit in hits:
        show(f"Memory   {hit.cosine:.3f}  {hit.memory.task}: {hit.memory.script}")
    show("")
    show(opening.strip())
    steps: list[dict[str, Any]] = []
    end = "steps"
    for turn in agent.play(game, max_steps, hits):
        watch(turn)
        parts.done("first action")
        marks = f"   ({', '.join(turn.flags)})" if turn.flags else ""
        show(f"\n> {turn.said}{marks}")
        show(turn.outcome.strip())
        steps.append(
            {
                "observation": turn.observation,
                "action": turn.action,
                "flags": list(turn.flags),
                "seconds": round(turn.seconds, 4),
                "tokens_new": turn.tokens_new,
                "tokens_cached": turn.tokens_cached,
                "tokens_out": turn.tokens_out,
            }
        )
        end = turn.end or end
    seconds = sum(step["seconds"] for step in steps)
    tokens = sum(step["tokens_new"] + step["tokens_out"] for step in steps)
    verdict = "Won" if end == "won" else f"Not won ({end})"
    show(f"\n{verdict} after {len(steps)} actions, {seconds:.1f} s, {tokens} tokens computed.")
    return {
        "game": game.id,
        "task": game.task,
        "memories": [
            {"id": hit.memory.id, "task": hit.memory.task, "cosine": round(float(hit.cosine), 4)} for hit in hits
        ],
        "steps": steps,
        "won": end == "won",
        "end": end,
        "seconds": round(seconds, 4),
        "first_action_seconds": round(sum(parts.seconds.values()), 4),
        "first_action_parts": {name: round(spent, 4) for name, spent in parts.seconds.items()},
        "tokens": tokens,
    }
