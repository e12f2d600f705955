"""`fisher`: pairs that teach a reward most, what is known counted.

Greedy D-optimal design: the largest p(1 − p) φᵀF⁻¹φ, φ = h(a) − h(b) of the last layer,
p = σ(margin) and F = λI + Σ p(1 − p) φφᵀ over labels bought and pairs already picked (past-aware
D-opt, arXiv 2502.04354). p(1 − p) asks for close calls, F⁻¹ for directions that no label has shown.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import (
    Pool,
    Strategy,
    differences,
    past_differences,
    sigmoid,
    signed_margins,
)
from activedpo.acquisition.designs import d_optimal
from activedpo.acquisition.reward_head import PRIOR, fit_head


def rank(pool: Pool) -> np.ndarray:
    """Log-determinant gained, pick by pick."""
    x, p = differences(pool), sigmoid(signed_margins(pool))
    return d_optimal(pool, x, p * (1 - p), past_information(pool))


def past_information(pool: Pool) -> np.ndarray:
    """F (d, d) of the labels bought so far, their p by a reward fitted on them."""
    x, p = past_differences(pool)
    information = PRIOR * np.eye(x.shape[1])
    if len(p):
        guess = sigmoid(x @ fit_head(x, p).mean)
        information = information + (x * (guess * (1 - guess))[:, None]).T @ x
    return information


STRATEGY = Strategy(
    name="fisher",
    rank=rank,
    summary="Undecided pairs that differ in ways no label has shown yet.",
    cost="one pass of policy and reference, hidden states kept; labels so far again",
    needs_scores=True,
    features="hidden",
)
"""Not cold in the first round: without margins and labels it is a plain D-optimal design."""
