"""`ensemble`: pairs on whose label the members of an ensemble disagree.

BALD (arXiv 1112.5745): the largest mutual information of label and member. Members are linear
heads on the policy's hidden states, each fitted on a resample of the labels bought so far, around a
random anchor of its own (arXiv 1806.03335), so a hundred cost less than one pass of the policy.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, differences, past_differences, sigmoid
from activedpo.acquisition.reward_head import bald, bootstrap_heads

MEMBERS = 16


def rank(pool: Pool) -> np.ndarray:
    """Mutual information of label and member, in nats."""
    return disagreement(pool)


def disagreement(pool: Pool, members: int = MEMBERS) -> np.ndarray:
    """BALD of each pair, (n,)."""
    known, p = past_differences(pool)
    heads = bootstrap_heads(known, p, pool.rng, members)
    return bald(sigmoid(heads @ differences(pool).T))


STRATEGY = Strategy(
    name="ensemble",
    rank=rank,
    summary="Pairs on which several rewards, all learnt from the same labels, disagree.",
    cost="one pass of the policy, hidden states kept; labels so far again",
    features="hidden",
    needs_past=True,
)
