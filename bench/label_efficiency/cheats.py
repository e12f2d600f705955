"""What choosing could give at most: strategies that know the labels before they are bought.

No strategy at all: they read what the oracle and the judge will say (`features="answers"`, which
only a simulation can give). Between random and them lies everything that an acquisition function
can win.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, completions


def _gaps(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """(log-odds that a is better) by oracle and by judge, each (n,)."""
    gaps = completions(pool)[:, 0]
    return gaps[:, 0], gaps[:, 1]


def _gap(pool: Pool) -> np.ndarray:
    """Largest gap first: the pairs on which the oracle is surest."""
    ours, _ = _gaps(pool)
    return np.abs(ours)


def _clean(pool: Pool) -> np.ndarray:
    """By chance among the pairs whose label the judge agrees with: no wrong label at all."""
    ours, theirs = _gaps(pool)
    agree: np.ndarray = (np.sign(ours) * np.sign(theirs) > 0).astype(np.float64)
    return agree


def _clean_half(pool: Pool) -> np.ndarray:
    """By chance among those that are clean and of the larger half of gaps."""
    ours, _ = _gaps(pool)
    large = np.abs(ours) >= np.median(np.abs(ours))
    return _clean(pool) * large


def _cheat(name: str, rank: Callable[[Pool], np.ndarray], summary: str) -> Strategy:
    return Strategy(name, rank, summary, cost="the label of every pair", features="answers")


CHEATS = (
    _cheat("cheat_gap", _gap, "Pairs on which the oracle is surest."),
    _cheat("cheat_clean", _clean, "Pairs whose label the judge agrees with."),
    _cheat("cheat_clean_half", _clean_half, "Clear pairs whose label the judge agrees with."),
)
