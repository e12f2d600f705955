"""`thompson`: duels between the best and the worst answer, as two draws of the reward see them.

Double Thompson sampling with a reversed second arm: two rewards w₁, w₂ are drawn from the posterior
that the labels so far leave; the first arm is the best completion under w₁, the second the worst
under w₂, and the pair is worth r₁(first) − r₂(second) (arXiv 2402.00396; reversed as in
2603.09692). With n candidates a prompt, give all their pairs and `prompts=`: the best pair of each
prompt comes first.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy
from activedpo.acquisition.duels import candidates, one_a_prompt


def rank(pool: Pool) -> np.ndarray:
    """The drawn gap of the better arm's reward to the other's, under two draws."""
    features, head = candidates(pool)
    first, second = head.draw(pool.rng, 2)
    high, low = features @ first, features @ second
    gaps = np.maximum(high[:, 0] - low[:, 1], high[:, 1] - low[:, 0])
    return one_a_prompt(pool, gaps)


STRATEGY = Strategy(
    name="thompson",
    rank=rank,
    summary="Duels of what may be the best answer with what may be the worst.",
    cost="one pass of the policy, hidden states kept; labels so far again",
    features="hidden",
    needs_past=True,
)
