"""`diverse_certainty`: pairs the policy is sure about, but not ten times the same.

Of the `shortlist` · m largest |margin| a greedy k-centre batch over hidden states (arXiv
1708.00489), the largest |margin| first; behind it the rest by |margin|.
"""

from __future__ import annotations

import math

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, margins
from activedpo.acquisition.designs import k_centre
from activedpo.acquisition.diverse import both_states


def rank(pool: Pool) -> np.ndarray:
    """Distance to the nearest pick among the certain, pick by pick; then |margin|."""
    certain = margins(pool)
    size = min(pool.size, max(pool.m, math.ceil(pool.shortlist * pool.m)))
    order = np.lexsort((pool.rng.random(pool.size), -certain))
    listed = np.zeros(pool.size, dtype=bool)
    listed[order[:size]] = True
    return k_centre(pool, both_states(pool), certain, listed)


STRATEGY = Strategy(
    name="diverse_certainty",
    rank=rank,
    summary="Pairs the policy is sure about that are unlike each other.",
    cost="one pass of policy and reference, hidden states kept",
    needs_scores=True,
    needs_margin=True,
    features="hidden",
)
