"""The rule of thumb that length wins: for tests, and to see how far length alone goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activedpo.types import Prompt

if TYPE_CHECKING:
    from activedpo.oracles import Oracle


def length(prefer: str = "longer") -> Oracle:
    """An oracle that prefers the longer (or "shorter") text, counted in characters."""
    if prefer not in ("longer", "shorter"):
        raise ValueError(f"prefer must be 'longer' or 'shorter', not {prefer!r}")

    def judge(_: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        a, b = len(completion_a), len(completion_b)
        if a == b:
            return None
        return float((a > b) == (prefer == "longer"))

    return judge
