"""`gradient`: pairs whose label would move the policy in a new direction.

Greedy: the largest ‖∇r(a) − ∇r(b)‖ in V⁻¹, V = λI + Σ gg^T over labels and picks, g a pair's
gradient difference; ∇r = β∇log π_θ in LoRA weights, projected (ActiveDPO, arXiv 2505.19241).
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, differences, past_differences
from activedpo.acquisition.designs import d_optimal

RIDGE = 1.0
"""λ, where a gradient difference has length 1 on average."""


def rank(pool: Pool) -> np.ndarray:
    """Length in the metric of what is known already, pick by pick."""
    x = differences(pool)
    known, _ = past_differences(pool)
    information = RIDGE * np.eye(x.shape[1]) + known.T @ known
    return d_optimal(pool, x, np.ones(pool.size), information)


STRATEGY = Strategy(
    name="gradient",
    rank=rank,
    summary="Pairs whose label would move the policy in a direction it has not been moved in.",
    cost="a forward and a backward pass a completion, one sequence at a time; labels so far again",
    features="gradient",
)
