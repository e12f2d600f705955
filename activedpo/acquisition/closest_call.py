"""`closest_call`: pairs whose implicit rewards differ least.

Smallest |r̂(x, a) − r̂(x, b)|: the opposite of `certainty`, recommended by arXiv 2406.17312.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, margins


def rank(pool: Pool) -> np.ndarray:
    """−|margin|: a small one is wanted."""
    return -margins(pool)


STRATEGY = Strategy(
    name="closest_call",
    rank=rank,
    summary="Pairs where the policy cannot tell which answer is better.",
    cost="one pass of policy and reference",
    needs_scores=True,
    needs_margin=True,
)
