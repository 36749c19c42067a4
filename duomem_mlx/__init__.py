"""Distil a big agent into a small one: procedural memories before the prompt, a LoRA adapter in the weights.

from duomem_mlx import open_game, Bank, load_agent, evaluate
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duomem_mlx.evaluation.runner import evaluate as evaluate
    from duomem_mlx.household.environment import open_game as open_game
    from duomem_mlx.memory.bank import Bank as Bank
    from duomem_mlx.student.agent import load_agent as load_agent

__version__ = "0.1.0"
__all__ = ["Bank", "evaluate", "load_agent", "open_game"]

_HOMES = {
    "open_game": "duomem_mlx.household.environment",
    "Bank": "duomem_mlx.memory.bank",
    "load_agent": "duomem_mlx.student.agent",
    "evaluate": "duomem_mlx.evaluation.runner",
}


def __getattr__(name: str) -> Any:
    """Load a public name where it is used, so that importing the package loads nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
