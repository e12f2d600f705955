"""`disputed`: pairs on which the policy and a second reward contradict each other most.

`certainty` bets that a policy which is sure is at times wrong; this one looks for where. A linear
reward on hidden states is learnt from the same labels (Bradley-Terry), and the pair is worth
−(m / s_m)(μ / s_μ): m the implicit reward's margin, μ the second reward's, s their root mean square
over the pool. Both are sure and one of them is wrong, so the label settles something. Query by
committee (Seung et al. 1992) with a committee of two that err differently; ours.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import (
    Pool,
    Strategy,
    differences,
    past_differences,
    scaled,
    signed_margins,
)
from activedpo.acquisition.reward_head import fit_head


def rank(pool: Pool) -> np.ndarray:
    """−product of both margins, each on the scale of its pool: agreement comes last."""
    head = fit_head(*past_differences(pool))
    agreement: np.ndarray = scaled(signed_margins(pool)) * scaled(differences(pool) @ head.mean)
    return -agreement


STRATEGY = Strategy(
    name="disputed",
    rank=rank,
    summary="Pairs where the policy is sure, and a second reward learnt from the labels objects.",
    cost="one pass of policy and reference, hidden states kept; labels so far again",
    needs_scores=True,
    needs_margin=True,
    features="hidden",
    needs_past=True,
)
