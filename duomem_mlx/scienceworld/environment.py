"""ScienceWorld as an environment: its tasks by name, how to act in it, and the gold paths of its training games."""

import weakref
from collections.abc import Sequence

from duomem_mlx.defaults import Need
from duomem_mlx.environment import Origin
from duomem_mlx.errors import UsageError
from duomem_mlx.scienceworld import tasks, wording
from duomem_mlx.scienceworld.gold import readable
from duomem_mlx.scienceworld.simulator import JAVA, Simulator, Simulators, check_installed, java_found, package_found
from duomem_mlx.trajectory import Trajectory

LOOK = "look around"

INSTRUCTIONS = """\
You act in a house with ten places, a small world of science, by text. You are told what you see and one task; carry \
it out in as few actions as you can. Every answer ends with one line "Action: " and one action in one of these forms:
- go to (place), teleport to (place): for example go to kitchen
- look around, look at (thing), look in (thing), inventory, task
- open (thing), close (thing), activate (thing), deactivate (thing)
- pick up (thing), put down (thing), move (thing) to (thing), pour (thing) into (thing), dunk (thing) into (thing)
- mix (thing), use (thing) on (thing), connect (thing) to (thing), disconnect (thing)
- focus on (thing): says that this is what the task asks for; the wrong thing ends the task
- read (thing), eat (thing), flush (thing), wait, wait1
Call things by the names you were given. What is asked as "Ambiguous request" is answered with one of its numbers."""

_REFUSALS = (
    "No known action matches that input.",
    "Ambiguous request:",
    "It's not clear how",
    "I'm not sure",
    "The door is already open.",
)

WRONG_FOCUS = "focused on the wrong thing"
NOTHING_REACHED = "reached no part of the goal"
NO_FOCUS = "never focused on anything"
NOT_FINISHED = "focused, not finished"
FOCUS = "You focus on "


class ScienceWorldGame:
    """One variation of a task. It takes a simulator when it is first needed, and lets go of it when it is over."""

    def __init__(self, task: str, variation: int, simulators: Simulators) -> None:
        self.id = f"{task}/{variation}"
        self.split = tasks.split_of(task, variation)
        self._game = task, variation
        self._simulators = simulators
        self._simulator: Simulator | None = None
        self._let_go: weakref.finalize[[Simulator], ScienceWorldGame] | None = None
        self._untouched = False
        self._task = ""
        self._last = ""
        self._score = 0.0
        self._done = False

    @property
    def task(self) -> str:
        """What is to be done, as the simulator tells it."""
        if not self._task:
            self._begun()
        return self._task

    def reset(self) -> str:
        """The task, and below it what is seen."""
        simulator = self._begun()
        self._untouched = False
        seen = simulator.step(LOOK).strip()
        self._last = f"{self._task}\n{seen}"
        return self._last

    def step(self, action: str) -> str:
        if self._done:
            return self._last
        simulator = self._simulator
        if simulator is None:
            self.reset()
            return self.step(action)
        self._untouched = False
        self._last = simulator.step(action).strip()
        score, completed = simulator.verdict()
        self._score = min(1.0, max(0.0, round(score, 2)))
        self._done = completed or score < 0  # as the package has it: what spoils the task ends it
        if self._done:
            self._release()
        return self._last

    @property
    def done(self) -> bool:
        return self._done

    @property
    def won(self) -> bool:
        return self._done and self._score == 1.0

    @property
    def score(self) -> float:
        """The simulator's 0 to 100 as 0 to 1; what spoiled the task counts 0."""
        return self._score

    def _begun(self) -> Simulator:
        """The simulator at this game's beginning."""
        if self._simulator is not None and self._untouched:
            return self._simulator
        if self._simulator is None or self._simulator.broken:
            self._release()
            simulator = self._simulators.take()
            self._simulator = simulator
            self._let_go = weakref.finalize(self, self._simulators.give_back, simulator)
        self._score, self._done, self._untouched = 0.0, False, True
        self._simulator.load(*self._game)
        self._task = self._simulator.task()
        return self._simulator

    def _release(self) -> None:
        self._simulator = None
        if self._let_go is not None:
            self._let_go()  # once at most


class ScienceWorld:
    """The 30 tasks of ScienceWorld (Wang et al. 2022, arXiv 2203.07540), with the package's "easy" simplifications.

    A task's id is TASK/VARIATION: the same on every machine.
    """

    name, splits = "scienceworld", tasks.SPLITS
    origin = Origin("ScienceWorld", "https://github.com/allenai/ScienceWorld", "Apache-2.0")
    instructions = INSTRUCTIONS

    def __init__(self) -> None:
        self.simulators = Simulators()

    def tasks(self, split: str) -> Sequence[str]:
        """Ids of `SPLIT[:TASKS[:N]]`, see `tasks.ids_of`, or of one game. Raises UsageError when there is none."""
        return tasks.ids_of(split)

    def open(self, task_id: str) -> ScienceWorldGame:
        """Raises UsageError when there is no such game, and when the package or Java is missing."""
        check_installed()
        return ScienceWorldGame(*tasks.task_and_variation(task_id), self.simulators)

    def kind(self, task_id: str) -> str:
        return task_id.partition("/")[0]

    def refused(self, observation: str) -> bool:
        return observation.strip().startswith(_REFUSALS)

    def shorten(self, text: str) -> str:
        return wording.shorten(text)

    def solutions(self, task_id: str) -> Sequence[Sequence[str]]:
        """The package's gold path of a training game: as one can learn from it, then as it is. Whether either wins is
        for who plays it to see. Raises UsageError for a game of another split."""
        task, variation = tasks.task_and_variation(task_id)
        if (split := tasks.split_of(task, variation)) != "train":
            raise UsageError(f"{task_id} is of {split}: gold paths are for training games.", "Name games of train.")
        simulator = self.simulators.take()
        try:
            simulator.load(task, variation, gold=True)
            path = simulator.gold_path()
        finally:
            self.simulators.give_back(simulator)
        return [readable(path), path]

    def needs(self) -> list[Need]:
        """Java, where the package is there."""
        if not package_found():
            return []
        java = java_found()
        found = java or "none here, and ScienceWorld's simulator needs it"
        return [Need("java", java is not None, found, f"Install {JAVA}.")]

    def close(self) -> None:
        """End the simulators that wait for a game; they end with the program too."""
        self.simulators.close()

    def cause(self, episode: Trajectory) -> str | None:
        """Why a game was not won, by how far it came."""
        if episode.won:
            return None
        focused = [step.observation.startswith(FOCUS) for step in episode.steps]
        if episode.end == "lost" and any(focused[-1:]):
            return WRONG_FOCUS
        if episode.score == 0:
            return NOTHING_REACHED
        return NOT_FINISHED if any(focused) else NO_FOCUS


def scienceworld() -> ScienceWorld:
    """The factory behind `--env scienceworld`."""
    return ScienceWorld()
