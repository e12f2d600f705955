"""`certainty`: pairs whose implicit rewards differ most.

Largest |r̂(x, a) − r̂(x, b)|: where the model is sure and wrong, the gradient of DPO is largest
(arXiv 2402.08114, §3).
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, margins


def rank(pool: Pool) -> np.ndarray:
    """|margin|: a large one is wanted."""
    return margins(pool)


STRATEGY = Strategy(
    name="certainty",
    rank=rank,
    summary="Pairs where the policy is surest which answer is better, to find where it is wrong.",
    cost="one pass of policy and reference",
    needs_scores=True,
    needs_margin=True,
)
