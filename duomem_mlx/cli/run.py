"""`duomem-mlx run`: one game, live."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring, writers
from duomem_mlx.cli.watching import Screen, Watched, screen_for

if TYPE_CHECKING:
    from duomem_mlx.guarded import Guarded
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.memory.growth import Learned
    from duomem_mlx.memory.why import Reason
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.episodes import Turn
    from duomem_mlx.trajectory import Episode

Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="NAME",
        help="base, memories, adapter or duomem; repeatable, to see them side by side [default: with all there is].",
    ),
]
Why = Annotated[
    bool,
    typer.Option(
        "--why", help="Of each memory the words it has in common with the task, and what each word did for it."
    ),
]


def run(
    context: typer.Context,
    games: options.FirstGames = None,
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = options.WORLD,
    number: options.GameNumber = 1,
    model: options.Model = None,
    adapter: options.Adapter = None,
    memories: options.Memories = None,
    k: options.K = None,
    max_steps: options.MaxSteps = None,
    prompt_style: options.PromptStyle = None,
    max_tokens: options.MaxTokens = None,
    temp: options.Temp = 0.0,
    top_p: options.TopP = 1.0,
    avoid_refused: options.AvoidRefused = False,
    actions: options.Actions = "free",
    seed: options.Seed = 0,
    learn: options.Learn = None,
    allow_side_effects: options.SideEffects = False,
    arm: Arms = None,
    why: Why = False,
    json: options.Json = False,
) -> None:
    """Play one game: the task, the memories recalled, every action and what came of it, the verdict.

    Without options it plays an embedded game of the household with the shipped adapter and memories. On a terminal it
    is a panel that changes with every action, in a pipe lines. `--arm base --arm duomem` plays it without and with
    both, one beside the other. With --learn the bank, a live one, learns from it.
    """
    parts = Parts()
    from duomem_mlx.defaults import defaults_of, first_games
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import UsageError
    from duomem_mlx.guarded import open_game
    from duomem_mlx.memory.why import reasons
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.agent import question_of
    from duomem_mlx.student.decoding import Decoding
    from duomem_mlx.student.episodes import PlaySettings
    from duomem_mlx.trajectory import measures

    decoding = Decoding(temp, top_p, seed, avoid_refused, actions)
    environment = wiring.open_environment(env, games_dir, engine)
    wiring.may_play(environment, allow_side_effects)
    games, max_steps = games or first_games(environment), max_steps or defaults_of(environment).max_steps
    tasks = ordered(environment, games)
    if number > len(tasks):
        raise UsageError(f"--number is {number}, but {games!r} holds {len(tasks)} games.", "Name a smaller one.")
    game = open_game(environment, tasks[number - 1])
    parts.done("game")
    folder = wiring.adapter_path(adapter, model, environment)
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
    chosen = arms_chosen(arm, folder is not None, bank is not None)
    if learning is not None and len(chosen) > 1:
        raise UsageError("A bank learns from one game at a time.", "Name one --arm, or leave out --learn.")
    style = prompt_style or (None if folder is None else wiring.trained_style(folder))  # the same in all arms
    arms: dict[str, dict[str, Any]] = {}
    screen = screen_for(json, why)
    try:
        for title, with_adapter, with_memories in chosen:
            if arms:  # the first one's is open
                game = open_game(environment, tasks[number - 1])
            adapted, recalls_from = folder if with_adapter else None, bank if with_memories else None
            agent = wiring.agent(environment, model, adapted, recalls_from, k, style, settings)
            parts.done("student")
            hits = agent.recall(game)
            found = reasons(bank, question_of(bank, game), hits, weigh=why) if bank is not None and hits else []
            parts.done("recall")
            watched = Watched(title, game.id, game.task, game.reset(), found)
            arms[title] = play_live(agent, game, watched, max_steps, parts, screen)
    finally:
        screen.close()
    record = next(iter(arms.values())) if len(arms) == 1 else {"game": game.id, "task": game.task, "arms": arms}
    if learning is not None and bank is not None:
        from duomem_mlx.evaluation.growing import learn_from
        from duomem_mlx.evaluation.runner import episode_of

        episode = episode_of(environment, "run", k, game, watched.turns[0].observation, watched.turns, hits, agent)
        learnt = learn_from(episode, bank, learning, agent, run_name(episode))
        record["learnt"] = asdict(learnt)
        tell_learnt(learnt, bank)
    if json:
        output.result(record)
    else:
        named = {"--games": games, **options.given(context, *options.OF_A_GAME, "k"), "--limit": 20}
        output.hint(output.call("evaluate", named=named))


def arms_chosen(names: list[str] | None, adapter: bool, bank: bool) -> list[tuple[str, bool, bool]]:
    """(title, with the adapter, with memories) of what is played; one without a title, with all there is, where
    nothing is named. Raises UsageError for an arm that cannot be."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.evaluation.arms import ARMS

    possible = [name for name, arm in ARMS.items() if arm.memories in ("none", "bank")]
    found = []
    for name in dict.fromkeys(names or ()):
        if name not in possible:
            raise UsageError(f"`run` plays no arm {name!r}.", f"Use one of {', '.join(possible)}.")
        arm = ARMS[name]
        for needed, there, what in ((arm.adapter, adapter, "adapter"), (arm.memories == "bank", bank, "memories")):
            if needed and not there:
                raise UsageError(f"The arm {name} needs the {what} and there is none.", f"Name one with --{what}.")
        found.append((name, arm.adapter, arm.memories == "bank"))
    return found or [("", adapter, bank)]


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
    agent: "Agent", game: "Guarded", watched: Watched, max_steps: int, parts: Parts, screen: Screen
) -> dict[str, Any]:
    """Play and show it as it comes; the record is what `--json` prints. `parts` is what has been done since the
    command began."""
    from duomem_mlx import offers

    seen = offers.seen_of(agent.environment)
    told = [watched.opening]
    screen.begins(watched)
    end = "steps"
    for turn in agent.play(game, max_steps, [reason.hit for reason in watched.reasons]):
        parts.done("first action")
        told.append(turn.outcome)
        watched.turns.append(turn)
        if seen is not None:
            try:
                watched.seen = seen(told)
            except offers.WorldBroke as broke:  # it is shown beside the game, which goes on
                output.say(broke.what)
                seen = None
        end = turn.end or end
        if turn.end is not None:
            watched.verdict = verdict(end)
        screen.acted(watched)
    watched.verdict = verdict(end)
    screen.ends(watched)
    return {
        "game": watched.game,
        "task": watched.task,
        "memories": [memory_record(reason) for reason in watched.reasons],
        "steps": [step_record(turn) for turn in watched.turns],
        "seen": {place: list(things) for place, things in watched.seen.items()},
        "won": end == "won",
        "end": end,
        "seconds": round(watched.seconds, 4),
        "first_action_seconds": round(sum(parts.seconds.values()), 4),
        "first_action_parts": {name: round(spent, 4) for name, spent in parts.seconds.items()},
        "tokens": watched.tokens,
    }


def verdict(end: str) -> str:
    return "Won" if end == "won" else f"Not won ({end})"


def memory_record(reason: "Reason") -> dict[str, Any]:
    memory = reason.hit.memory
    weights = {"weights": [[word, round(fall, 4)] for word, fall in reason.weights]} if reason.weights else {}
    cosine = round(float(reason.hit.cosine), 4)
    return {"id": memory.id, "task": memory.task, "cosine": cosine, "matched": list(reason.matched), **weights}


def step_record(turn: "Turn") -> dict[str, Any]:
    return {
        "observation": turn.observation,
        "action": turn.action,
        "flags": list(turn.flags),
        "seconds": round(turn.seconds, 4),
        "tokens_new": turn.tokens_new,
        "tokens_cached": turn.tokens_cached,
        "tokens_out": turn.tokens_out,
    }
