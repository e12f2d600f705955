"""`expected_gradient`: pairs whose label is expected to move the last layer most.

DPO's gradient on a label is |y − σ(m)| times the difference of features, so before the label is
known its expected length is (q σ(−m) + (1 − q) σ(m)) ‖φ(a) − φ(b)‖, q the probability that a is
the better one (expected gradient length, Settles et al. 2008). With q = σ(m), the policy's own
belief, that favours close calls; with q = ½ it is level in m. Here q is the belief of a second
reward, linear on hidden states and learnt from the labels so far, with its uncertainty (MacKay
1992): it favours a sure policy where there is reason to think it wrong. Ours.
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
from activedpo.acquisition.reward_head import fit_head


def rank(pool: Pool) -> np.ndarray:
    """E|y − σ(m)| ‖φ(a) − φ(b)‖, (n,)."""
    x, head = differences(pool), fit_head(*past_differences(pool))
    spread = np.einsum("nd,de,ne->n", x, head.covariance, x)
    q = sigmoid(x @ head.mean / np.sqrt(1 + np.pi * spread / 8))
    guess = sigmoid(signed_margins(pool))
    length = np.linalg.norm(x, axis=1)
    expected: np.ndarray = (q * (1 - guess) + (1 - q) * guess) * length
    return expected


STRATEGY = Strategy(
    name="expected_gradient",
    rank=rank,
    summary="Pairs whose label is expected to change the policy most.",
    cost="one pass of policy and reference, hidden states kept; labels so far again",
    needs_scores=True,
    needs_margin=True,
    features="hidden",
    needs_past=True,
)
