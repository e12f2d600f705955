"""`diverse`: pairs unlike each other and unlike what is labelled, and nothing else.

Greedy k-centre (core-set selection, arXiv 1708.00489) over both completions' hidden states. The
first pick is the pair farthest from the pool's middle.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, completions
from activedpo.acquisition.designs import k_centre


def rank(pool: Pool) -> np.ndarray:
    """Distance to the nearest pick, pick by pick."""
    points = both_states(pool)
    outside = np.square(points - points.mean(0)).sum(1)
    return k_centre(pool, points, outside, np.ones(pool.size, dtype=bool))


def both_states(pool: Pool) -> np.ndarray:
    """(n, 2d): mean of the two completions' states, and |difference|: swapping a and b, which
    says nothing, moves no point.
    """
    both = completions(pool)
    return np.concatenate([both.mean(1), np.abs(both[:, 0] - both[:, 1])], axis=1)


STRATEGY = Strategy(
    name="diverse",
    rank=rank,
    summary="Pairs unlike each other, whatever the policy thinks of them.",
    cost="one pass of the policy, hidden states kept",
    features="hidden",
)
