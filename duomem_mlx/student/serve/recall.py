"""The memories of a conversation: looked up once, from what its user said first."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duomem_mlx.paths import digest
from duomem_mlx.teachers.transcripts import task_told

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank, Hit

REMEMBERED = 1024  # conversations


@dataclass
class Recall:
    """Finds memories for conversations, in a bank's own kind of question; for one thread. `bank` None or `k` 0: none.

    A conversation is told by the task and the first message: it gets the same memories in every request, even while a
    bank changes.
    """

    bank: "Bank | None"
    k: int
    _found: "OrderedDict[str, list[Hit]]" = field(default_factory=OrderedDict)  # by a hash: messages may be large

    def __call__(self, task: str | None, first: str) -> "list[Hit]":
        """`task` is what the client says it is, else the task that `first` tells ("Your task is to: …"), else all of
        `first`."""
        if self.bank is None or self.k == 0:
            return []
        conversation = digest([task, first])
        if conversation not in self._found:
            wanted = task or task_told(first) or first
            question = wanted if self.bank.by == "task" else self.bank.question(wanted, first)
            self._found[conversation] = self.bank.search(question, self.k)
            if len(self._found) > REMEMBERED:
                self._found.popitem(last=False)
        self._found.move_to_end(conversation)
        return self._found[conversation]
