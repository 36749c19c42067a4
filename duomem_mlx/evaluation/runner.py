"""Playing a set of games in several arms, each episode on disk as soon as it is over."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.environment import Environment, Game, teacher_of
from duomem_mlx.evaluation.arms import ARMS, TEACHER, Arm
from duomem_mlx.evaluation.claims import Claims, claims_in
from duomem_mlx.evaluation.growing import Learning, episode_name, growing_bank, learn_from, unlearnt
from duomem_mlx.evaluation.results import episode_path, finished_games, summarise, write_episode
from duomem_mlx.student.agent import Agent, examples, recalled
from duomem_mlx.student.episodes import Entry, PlaySettings, Turn, play
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import Episode, PlayedStep

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank, Hit

WAIT_SECONDS = 1.0  # until it is looked again whether others have left something to play
Progress = Callable[[int, int, str], None]  # games over, games in all, what is going on


@dataclass(frozen=True)
class Run:
    """One evaluation: where it writes, what is played, and how."""

    folder: Path
    environment: Environment
    games: Sequence[str]  # task ids, in the order of play
    split: str
    bank: "Bank | None"
    ks: Sequence[int]  # memories in the prompt; the first one names the arm without a suffix
    seed: int
    settings: PlaySettings
    learning: Learning | None = None  # where it is given, banks grow; see `growing`
    own_bank: "Bank | None" = None  # of the student's own successes

    def bank_of(self, arm: Arm) -> "Bank | None":
        """What an arm recalls from."""
        return None if arm.memories == "none" else self.own_bank if arm.memories == "own" else self.bank


def evaluate(
    run: Run,
    arms: Sequence[Arm],
    agent_for: Callable[[bool], Agent],
    header: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, label: None,
) -> dict[str, Any]:
    """Play what is not on disk yet, the environment's teacher first, and write and give back the summary.

    `header` is added to the summary as it is: names and hashes of what was evaluated, machine, version.
    """
    run_teacher(run)
    run_arms(run, arms, agent_for, progress)
    cause = getattr(run.environment, "cause", None)
    return summarise(run.folder, run.games, header or {}, run.settings.max_steps, [*ARMS, TEACHER], cause)


def run_arms(run: Run, arms: Sequence[Arm], agent_for: Callable[[bool], Agent], progress: Progress) -> None:
    """Play what is not on disk yet and nobody else plays, until all of it is on disk. `agent_for(adapter)` gives the
    student with or without its adapter; it is asked when the first game is there for it, the bare student first."""
    jobs = [
        (arm, k, arm.label(k, run.ks[0]))
        for arm in sorted(arms, key=lambda arm: arm.adapter)
        for k in (run.ks if arm.memories != "none" else run.ks[:1])
    ]
    total = len(jobs) * len(run.games)
    agent: Agent | None = None
    adapted: bool | None = None  # whether the agent that is loaded has its adapter

    def done() -> int:
        return total - sum(len(left_of(run, label)) for _, _, label in jobs)

    with claims_in(run.folder) as claims:
        while open_jobs := [job for job in jobs if left_of(run, job[2]) or behind(run, *job)]:
            played = 0
            for arm, k, label in open_jobs:
                progress(done(), total, label)
                games = left_of(run, label)
                if not any_free(run, arm, k, label, games, claims):
                    continue
                if agent is None or arm.adapter != adapted:
                    agent = None  # one student in memory at a time
                    agent, adapted = agent_for(arm.adapter), arm.adapter
                for _ in play_and_learn(run, arm, k, label, games, agent, claims):
                    played += 1
                    progress(done(), total, label)
                claims.release_all()
            if not played and any(left_of(run, label) for _, _, label in jobs):
                time.sleep(WAIT_SECONDS)  # others are at what is left; whoever of them ends leaves it to us
    progress(total, total, "")


def left_of(run: Run, label: str) -> list[str]:
    """The games of an arm that are not on disk."""
    finished = finished_games(run.folder, label, run.seed)
    return [game for game in run.games if game.replace("/", "__") not in finished]


def any_free(run: Run, arm: Arm, k: int, label: str, games: Sequence[str], claims: Claims) -> bool:
    """Whether there is something to play that nobody else plays; it is then claimed."""
    if grows(run, arm, k):  # what an arm learns follows from the order of its games
        return claims.take(claim_name(run, label, "whole"))
    return any(claims.take(claim_name(run, label, game)) for game in games)


def claim_name(run: Run, label: str, game: str) -> str:
    return f"{label}/{run.seed}/{game}"


def play_and_learn(
    run: Run, arm: Arm, k: int, label: str, games: Sequence[str], agent: Agent, claims: Claims
) -> Iterator[Episode]:
    """As `play_arm`; where the arm's bank grows, one game after the other, each learnt from before the next."""
    start = run.bank_of(arm)
    if run.learning is None or start is None or not grows(run, arm, k):
        yield from play_arm(run, arm, k, label, games, agent, claims)
        return
    with growing_bank(run.folder, label, run.seed, start) as bank:
        for name, episode in unlearnt(run.folder, label, run.seed, run.games, bank):
            learn_from(episode, bank, run.learning, agent, name)
        alone = replace(run, bank=bank, own_bank=bank, settings=replace(run.settings, width=1))
        for episode in play_arm(alone, arm, k, label, games, agent):
            learn_from(episode, bank, run.learning, agent, episode_name(label, run.seed, episode.game))
            yield episode


def grows(run: Run, arm: Arm, k: int) -> bool:
    """Whether an arm's bank learns while it is played: where it is searched, and nowhere else."""
    return run.learning is not None and run.bank_of(arm) is not None and arm.memories in ("bank", "own") and k > 0


def behind(run: Run, arm: Arm, k: int, label: str) -> bool:
    """Whether a run was stopped between an episode and what its bank learns from it."""
    start = run.bank_of(arm)
    if start is None or not grows(run, arm, k):
        return False
    with growing_bank(run.folder, label, run.seed, start) as bank:
        return any(True for _ in unlearnt(run.folder, label, run.seed, run.games, bank))


def play_arm(
    run: Run, arm: Arm, k: int, label: str, games: Sequence[str], agent: Agent, claims: Claims | None = None
) -> Iterator[Episode]:
    """Play games of one arm together; each episode is written, then yielded, as its game ends. With `claims`, those
    that nobody else plays or has played meanwhile."""
    open_games: dict[str, tuple[Game, Sequence[Hit]]] = {}
    openings: dict[str, str] = {}
    turns: dict[str, list[Turn]] = {}

    def entries() -> Iterator[Entry]:
        for task_id in games:
            if claims is not None and not claims.take(claim_name(run, label, task_id)):
                continue
            if claims is not None and episode_path(run.folder, label, run.seed, task_id).is_file():
                claims.release(claim_name(run, label, task_id))
                continue
            game = run.environment.open(task_id)
            hits = recall(run, arm, k, game)
            open_games[task_id] = game, hits
            yield Entry(task_id, game, examples(hits))

    refused = getattr(run.environment, "refused", None)
    together = getattr(run.environment, "parallel_safe", True)
    settings = run.settings if together else replace(run.settings, width=1)
    commands = getattr(run.environment, "commands", None)
    for turn in play(agent.student, agent.writer, entries(), settings, refused, commands):
        openings.setdefault(turn.key, turn.observation)
        turns.setdefault(turn.key, []).append(turn)
        if turn.end is None:
            continue
        game, hits = open_games.pop(turn.key)
        opening = openings.pop(turn.key)
        episode = episode_of(run.environment, label, k, game, opening, turns.pop(turn.key), hits, agent)
        write_episode(run.folder, run.seed, episode)
        if claims is not None:
            claims.release(claim_name(run, label, turn.key))
        yield episode


def recall(run: Run, arm: Arm, k: int, game: Game) -> "Sequence[Hit]":
    """The memories an arm is given for a game; never one made from this very game."""
    bank = run.bank_of(arm)
    if bank is None or k == 0:
        return []
    if arm.memories == "random":
        return bank.random(k, seed=run.seed, exclude_game=game.id)
    return recalled(bank, game, k)


def episode_of(
    environment: Environment,
    label: str,
    k: int,
    game: Game,
    opening: str,
    turns: Sequence[Turn],
    hits: "Sequence[Hit]",
    agent: Agent,
) -> Episode:
    """What is kept of a game that was played to its end: `turns` are all of it, `hits` what its prompt showed."""
    end = turns[-1].end
    kind = getattr(environment, "kind", lambda task_id: "")
    return Episode(
        environment=environment.name,
        game=game.id,
        split=game.split,
        kind=kind(game.id),
        task=game.task,
        opening=opening,
        steps=tuple(played_step(turn) for turn in turns),
        won=end == "won",
        score=float(game.score),
        end=end or "steps",
        teacher={"kind": "student", "model": agent.student.name, "prompt_style": agent.writer.style},
        seconds=round(sum(turn.seconds for turn in turns), 4),
        tokens={"in": sum(turn.tokens_new for turn in turns), "out": sum(turn.tokens_out for turn in turns)},
        arm=label,
        k=k if hits else 0,
        memories=tuple({"id": hit.memory.id, "cosine": round(float(hit.cosine), 4)} for hit in hits),
    )


def played_step(turn: Turn) -> PlayedStep:
    return PlayedStep(
        action=turn.action,
        observation=turn.outcome,
        thought=turn.reply.thought,
        tokens_new=turn.tokens_new,
        tokens_cached=turn.tokens_cached,
        tokens_out=turn.tokens_out,
        seconds=round(turn.seconds, 4),
        flags=turn.flags,
    )


def run_teacher(run: Run) -> bool:
    """The ceiling: the environment's own teacher on the same games. False when it has none."""
    if getattr(run.environment, "teacher", None) is None:
        return False
    for task_id in left_of(run, TEACHER):
        if episode_path(run.folder, TEACHER, run.seed, task_id).is_file():
            continue  # another process was here; the same teacher plays the same
        found = attempt(
            run.environment, task_id, teacher_of(run.environment), {"kind": TEACHER}, run.settings.max_steps
        )
        fields: dict[str, Any] = {name: getattr(found, name) for name in found.__dataclass_fields__}
        steps = tuple(PlayedStep(step.action, step.observation, step.thought) for step in found.steps)
        write_episode(run.folder, run.seed, Episode(**{**fields, "steps": steps}, arm=TEACHER))
    return True
