"""`duomem-mlx run`: one game, live."""

import time
from typing import TYPE_CHECKING, Any

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.environment import Game
    from duomem_mlx.student.agent import Agent


def run(
    games: options.Games = "embedded",
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = "household",
    number: options.GameNumber = 1,
    model: options.Model = None,
    adapter: options.Adapter = None,
    memories: options.Memories = None,
    k: options.K = 4,
    max_steps: options.MaxSteps = 30,
    prompt_style: options.PromptStyle = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
) -> None:
    """Play one game: the task, the memories recalled, every action and what came of it, the verdict.

    Without options it plays an embedded game with the shipped adapter and memories.
    """
    started = time.perf_counter()
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import UsageError
    from duomem_mlx.student.episodes import PlaySettings

    environment = wiring.open_environment(env, games_dir, engine)
    tasks = ordered(environment, games)
    if number > len(tasks):
        raise UsageError(f"--number is {number}, but {games!r} holds {len(tasks)} games.", "Name a smaller one.")
    game = environment.open(tasks[number - 1])
    bank = wiring.open_bank(memories, environment) if k else None
    folder = wiring.adapter_path(adapter, model)
    settings = PlaySettings(max_tokens=max_tokens)
    agent = wiring.agent(environment, model, folder, bank, k, prompt_style, settings)
    record = play_live(agent, game, max_steps, started, quiet=json)
    if json:
        output.result(record)
    else:
        named = {"--games": games, "--adapter": adapter, "--memories": memories, "--model": model}
        words = [f"{option} {value}" for option, value in named.items() if value is not None]
        output.hint(" ".join(["duomem-mlx evaluate", *words, "--limit 20"]))


def play_live(agent: "Agent", game: "Game", max_steps: int, started: float, quiet: bool = False) -> dict[str, Any]:
    """Play and print as it comes; the record is what `--json` prints. `started` is when the command began."""
    show = output.say if quiet else output.line
    opening = game.reset()
    show(f"Game     {game.id}")
    show(f"Task     {game.task}")
    hits = agent.recall(game)
    for hit in hits:
        show(f"Memory   {hit.cosine:.3f}  {hit.memory.task}: {hit.memory.script}")
    show("")
    show(opening.strip())
    steps: list[dict[str, Any]] = []
    first_action_seconds = None
    end = "steps"
    for turn in agent.play(game, max_steps, hits):
        first_action_seconds = first_action_seconds or time.perf_counter() - started
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
        "first_action_seconds": round(first_action_seconds or 0.0, 4),
        "tokens": tokens,
    }
