"""What every acquisition function gets, and what it gives back.

A strategy is one file with one `Strategy`. It gives each pair a value; the largest are wanted
most. Checking, ties, cold start and cutting to m are done once, in `acquire`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from activedpo.types import Scores


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool to choose from; n pairs.

    Args:
        scores: log-probs and margins, arrays of shape (n,); None where the strategy needs none.
        entropy: (n,) entropy of each pair's prompt, in nats; None where not given.
        m: how many are wanted.
        rng: the only source of randomness.
        size: n.
        shortlist: `entropy_certainty`: pairs that entropy lets through, as a multiple of m.
    """

    size: int
    m: int
    rng: np.random.Generator
    scores: Scores | None = None
    entropy: np.ndarray | None = None
    shortlist: float = 4.0


@dataclass(frozen=True, slots=True)
class Strategy:
    """An acquisition function.

    Args:
        name: how it is asked for.
        rank: pool → values of shape (n,), larger is wanted more; equal values are ties, which
            the seed breaks.
        summary: one sentence for people.
        cost: extra passes a pair, in words.
        needs_scores: reads `pool.scores`.
        needs_entropy: reads `pool.entropy`.
        needs_margin: ranks by margins, so it is cold while all of them are 0.
    """

    name: str
    rank: Callable[[Pool], np.ndarray]
    summary: str
    cost: str
    needs_scores: bool = False
    needs_entropy: bool = False
    needs_margin: bool = False


def margins(pool: Pool) -> np.ndarray:
    """|r(a) − r(b)|, shape (n,)."""
    assert pool.scores is not None  # checked by `acquire`
    absolute: np.ndarray = np.abs(pool.scores.margin)
    return absolute


def entropies(pool: Pool) -> np.ndarray:
    """H of each pair's prompt, shape (n,)."""
    assert pool.entropy is not None  # checked by `acquire`
    return pool.entropy
