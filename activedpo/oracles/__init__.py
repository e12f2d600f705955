"""Oracles: automatic judges of which completion is the better one. No torch is imported here.

An oracle is a function (prompt, completion_a, completion_b) → p, the probability that a is the
better one, or None where it cannot decide: never a coin flip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from activedpo.oracles.length import length
from activedpo.oracles.sentiment import sentiment
from activedpo.types import Prompt


class Oracle(Protocol):
    """Judges a pair; see the module."""

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> float | None: ...


ORACLES: dict[str, Callable[..., Oracle]] = {"sentiment": sentiment, "length": length}
"""Makers of oracles that need neither network nor model, by kind."""

__all__ = ["ORACLES", "Oracle", "length", "sentiment"]
