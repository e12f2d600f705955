"""`trace`: pairs that make the reward right where the policy writes.

Greedy: the largest fall of tr(I Σ_D⁻¹), with Σ_D = λI + Σ p(1 − p) φφᵀ over labels and picks and
I = mean p(1 − p) φφᵀ over the pool. The criterion is arXiv 2606.19607's; this form of it is derived
here: a reward fitted on D has ŵ − w ~ N(0, Σ_D⁻¹) (maximum likelihood), so its expected excess
Bradley-Terry loss on the pairs the policy writes is ½ E[(ŵ − w)ᵀ I (ŵ − w)] = ½ tr(I Σ_D⁻¹). The
pool is a sample of these pairs. Against `fisher` (log det Σ_D) it spends nothing on directions that
the policy's own pairs hardly have.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, differences, sigmoid, signed_margins
from activedpo.acquisition.designs import v_optimal
from activedpo.acquisition.fisher import past_information


def rank(pool: Pool) -> np.ndarray:
    """Fall of the expected loss, pick by pick."""
    x, p = differences(pool), sigmoid(signed_margins(pool))
    weights = p * (1 - p)
    target = (x * weights[:, None]).T @ x / pool.size
    return v_optimal(pool, x, weights, past_information(pool), target)


STRATEGY = Strategy(
    name="trace",
    rank=rank,
    summary="Pairs that tell most about the answers the policy really gives.",
    cost="one pass of policy and reference, hidden states kept; labels so far again",
    needs_scores=True,
    features="hidden",
)
