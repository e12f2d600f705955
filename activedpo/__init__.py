"""Active preference learning for language models: generate, score, acquire, label, train.

`import activedpo` imports no torch: what needs it is loaded at the first use of its name
(PEP 562), so that a web process can read the value types and the names of strategies.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from activedpo.types import Message, Pair, Preference, Prompt, Scores, TrainResult

if TYPE_CHECKING:
    from activedpo.acquisition import acquire
    from activedpo.entropy import prompt_entropy
    from activedpo.generation import generate, generate_pairs
    from activedpo.loading import Policy, load
    from activedpo.progress import bar
    from activedpo.scoring import score_pairs
    from activedpo.training import train_dpo

__version__ = "0.1.0"

_HOME = {
    "Policy": "activedpo.loading",
    "acquire": "activedpo.acquisition",
    "bar": "activedpo.progress",
    "generate": "activedpo.generation",
    "generate_pairs": "activedpo.generation",
    "load": "activedpo.loading",
    "prompt_entropy": "activedpo.entropy",
    "score_pairs": "activedpo.scoring",
    "train_dpo": "activedpo.training",
}

__all__ = [
    "Message",
    "Pair",
    "Policy",
    "Preference",
    "Prompt",
    "Scores",
    "TrainResult",
    "acquire",
    "bar",
    "generate",
    "generate_pairs",
    "load",
    "prompt_entropy",
    "score_pairs",
    "train_dpo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'activedpo' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
