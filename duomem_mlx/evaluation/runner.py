"""Playing a set of games in several arms, each episode on disk as soon as it is over."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.environment import Environment, parallel_safe
from duomem_mlx.evaluation.arms import ARMS, TEACHER, Arm
from duomem_mlx.evaluation.claims import Claims, claims_in
from duomem_mlx.evaluation.growing import Learning, episode_name, growing_bank, learn_from, unlearnt
from duomem_mlx.evaluation.results import SEED, episode_path, finished_games, read_episode, summarise, write_episode
from duomem_mlx.guarded import Guarded, open_game
from duomem_mlx.offers import WorldBroke, cause_of, commands_of, refused_by
from duomem_mlx.own_teacher import teacher_of
from duomem_mlx.student.agent import Agent, examples, recalled
from duomem_mlx.student.episodes import Entry, PlaySettings, Turn, play
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import Episode, PlayedStep

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank, Hit

OTHER_OPENING = "other_opening"  # flag of a game's first step
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
    adapter_seeds: Sequence[int] = ()  # of the adapters' training, where there are several; each plays all games

    def bank_of(self, arm: Arm) -> "Bank | None":
        """What an arm recalls from."""
        return None if arm.memories == "none" else self.own_bank if arm.memories == "own" else self.bank


@dataclass(frozen=True)
class Job:
    """All games in one arm, with one k and one adapter."""

    arm: Arm
    k: int
    label: str
    seed: int  # of the adapter's training where there are several, else the run's

    @property
    def adapter(self) -> int | None:
        """What `AgentFor` is asked for."""
        return self.seed if self.arm.adapter else None

    def name(self, game: str) -> str:
        """Under which a game of this job is claimed."""
        return f"{self.label}/{self.seed}/{game}"


AgentFor = Callable[[int | None], Agent]  # the student with the adapter of a job's seed, None: without one


def evaluate(
    run: Run,
    arms: Sequence[Arm],
    agent_for: AgentFor,
    header: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, label: None,
) -> dict[str, Any]:
    """Play what is not on disk yet, the environment's teacher first, and write and give back the summary.

    `header` is added to the summary as it is: names and hashes of what was evaluated, machine, version.
    """
    run_teacher(run)
    run_arms(run, arms, agent_for, progress)
    order = [*ARMS, TEACHER]
    return summarise(run.folder, run.games, header or {}, run.settings.max_steps, order, cause_of(run.environment))


def jobs_of(run: Run, arms: Sequence[Arm]) -> list[Job]:
    """In the order of play: those of one adapter together, the bare student's first."""
    found = []
    for adapter in (None, *(run.adapter_seeds or (run.seed,))):
        for arm in arms:
            if arm.adapter == (adapter is not None):
                for k in run.ks if arm.memories != "none" else run.ks[:1]:
                    found.append(Job(arm, k, arm.label(k, run.ks[0]), run.seed if adapter is None else adapter))
    return found


def run_arms(run: Run, arms: Sequence[Arm], agent_for: AgentFor, progress: Progress) -> None:
    """Play what is not on disk yet and nobody else plays, until all of it is on disk. `agent_for` is asked when the
    first game is there for a student."""
    jobs = jobs_of(run, arms)
    total = len(jobs) * len(run.games)
    agent: Agent | None = None
    adapter: int | None = None  # of the agent that is loaded

    def done() -> int:
        return total - sum(len(left_of(run, job.label, job.seed)) for job in jobs)

    with claims_in(run.folder) as claims:
        while open_jobs := [job for job in jobs if left_of(run, job.label, job.seed) or behind(run, job)]:
            played = 0
            for job in open_jobs:
                progress(done(), total, job.label)
                games = left_of(run, job.label, job.seed)
                if not any_free(run, job, games, claims):
                    continue
                if agent is None or job.adapter != adapter:
                    agent = None  # one student in memory at a time
                    agent, adapter = agent_for(job.adapter), job.adapter
                for _ in play_and_learn(run, job, games, agent, claims):
                    played += 1
                    progress(done(), total, job.label)
                claims.release_all()
            if not played and any(left_of(run, job.label, job.seed) for job in jobs):
                time.sleep(WAIT_SECONDS)  # others are at what is left; whoever of them ends leaves it to us
    progress(total, total, "")


def left_of(run: Run, label: str, seed: int) -> list[str]:
    """The games of an arm and seed that are not on disk."""
    finished = finished_games(run.folder, label, seed)
    return [game for game in run.games if game not in finished]


def any_free(run: Run, job: Job, games: Sequence[str], claims: Claims) -> bool:
    """Whether there is something to play that nobody else plays; it is then claimed."""
    if grows(run, job):  # what an arm learns follows from the order of its games
        return claims.take(job.name("whole"))
    return any(claims.take(job.name(game)) for game in games)


def play_and_learn(run: Run, job: Job, games: Sequence[str], agent: Agent, claims: Claims) -> Iterator[Episode]:
    """As `play_job`; where the arm's bank grows, one game after the other, each learnt from before the next."""
    start = run.bank_of(job.arm)
    if run.learning is None or start is None or not grows(run, job):
        yield from play_job(run, job, games, agent, claims)
        return
    with growing_bank(run.folder, job.label, job.seed, start) as bank:
        for name, episode in unlearnt(run.folder, job.label, job.seed, run.games, bank):
            learn_from(episode, bank, run.learning, agent, name)
        alone = replace(run, bank=bank, own_bank=bank, settings=replace(run.settings, width=1))
        for episode in play_job(alone, job, games, agent):
            learn_from(episode, bank, run.learning, agent, episode_name(job.label, job.seed, episode.game))
            yield episode


def grows(run: Run, job: Job) -> bool:
    """Whether an arm's bank learns while it is played: where it is searched, and nowhere else."""
    searched = run.bank_of(job.arm) is not None and job.arm.memories in ("bank", "own") and job.k > 0
    return run.learning is not None and searched


def behind(run: Run, job: Job) -> bool:
    """Whether a run was stopped between an episode and what its bank learns from it."""
    start = run.bank_of(job.arm)
    if start is None or not grows(run, job):
        return False
    with growing_bank(run.folder, job.label, job.seed, start) as bank:
        return any(True for _ in unlearnt(run.folder, job.label, job.seed, run.games, bank))


def play_job(run: Run, job: Job, games: Sequence[str], agent: Agent, claims: Claims | None = None) -> Iterator[Episode]:
    """Play games of one job together; each episode is written, then yielded, as its game ends. With `claims`, those
    that nobody else plays or has played meanwhile."""
    open_games: dict[str, tuple[Guarded, Sequence[Hit]]] = {}
    openings: dict[str, str] = {}
    turns: dict[str, list[Turn]] = {}

    def entries() -> Iterator[Entry]:
        for task_id in games:
            if claims is not None and not claims.take(job.name(task_id)):
                continue
            if claims is not None and episode_path(run.folder, job.label, job.seed, task_id).is_file():
                claims.release(job.name(task_id))
                continue
            game = open_game(run.environment, task_id)
            hits = recall(run, job, game)
            open_games[task_id] = game, hits
            yield Entry(task_id, game, examples(hits))

    refused, commands = refused_by(run.environment), commands_of(run.environment)
    settings = run.settings if parallel_safe(run.environment) else replace(run.settings, width=1)
    for turn in play(agent.student, agent.writer, entries(), settings, refused, commands):
        openings.setdefault(turn.key, turn.observation)
        turns.setdefault(turn.key, []).append(turn)
        if turn.end is None:
            continue
        game, hits = open_games.pop(turn.key)
        opening = openings.pop(turn.key)
        played = turns.pop(turn.key)
        episode = episode_of(run.environment, job.label, job.k, game, opening, played, hits, agent)
        if opens_otherwise(run, job, episode):
            first, *rest = (played_step(turn) for turn in played)
            marked = replace(first, flags=(*first.flags, OTHER_OPENING))
            episode = replace(episode, steps=(marked, *rest))
        write_episode(run.folder, job.seed, episode)
        if claims is not None:
            claims.release(job.name(turn.key))
        yield episode


def opens_otherwise(run: Run, job: Job, episode: Episode) -> bool:
    """Whether this game opened with another text in an arm that is on disk: then it is not the same game."""
    if episode.end == "environment" and not episode.opening:
        return False
    for folder in sorted((run.folder / "episodes").glob("*/*")):
        arm, seed = folder.parent.name, folder.name
        if (arm, seed) == (job.label, str(job.seed)) or not SEED.fullmatch(seed):
            continue
        path = episode_path(run.folder, arm, int(seed), episode.game)
        if path.is_file() and (other := read_episode(path)).opening:
            return other.opening != episode.opening
    return False


def recall(run: Run, job: Job, game: Guarded) -> "Sequence[Hit]":
    """The memories an arm is given for a game; never one made from this very game."""
    bank = run.bank_of(job.arm)
    if bank is None or job.k == 0:
        return []
    if job.arm.memories == "random":
        return bank.random(job.k, seed=run.seed, exclude_game=game.id)
    try:
        return recalled(bank, game, job.k)
    except WorldBroke:  # it is told when the game is begun
        return []


def episode_of(
    environment: Environment,
    label: str,
    k: int,
    game: Guarded,
    opening: str,
    turns: Sequence[Turn],
    hits: "Sequence[Hit]",
    agent: Agent,
) -> Episode:
    """What is kept of a game that was played to its end: `turns` are all of it, `hits` what its prompt showed."""
    end = turns[-1].end
    return Episode(
        environment=environment.name,
        game=game.id,
        split=game.split,
        kind=game.kind,
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
    for task_id in left_of(run, TEACHER, run.seed):
        if episode_path(run.folder, TEACHER, run.seed, task_id).is_file():
            continue  # another process was here; the same teacher plays the same
        found = attempt(
            run.environment, task_id, teacher_of(run.environment), {"kind": TEACHER}, run.settings.max_steps
        )
        fields: dict[str, Any] = {name: getattr(found, name) for name in found.__dataclass_fields__}
        steps = tuple(PlayedStep(step.action, step.observation, step.thought) for step in found.steps)
        write_episode(run.folder, run.seed, Episode(**{**fields, "steps": steps}, arm=TEACHER))
    return True
