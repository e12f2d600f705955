"""`random`: every pair is as likely as any other. The baseline, and the honest sample."""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy


def rank(pool: Pool) -> np.ndarray:
    """All equal: the seed decides."""
    return np.zeros(pool.size)


STRATEGY = Strategy(
    name="random",
    rank=rank,
    summary="Any pair is as likely as any other: no model is asked.",
    cost="none",
)
