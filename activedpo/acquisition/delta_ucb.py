"""`delta_ucb`: pairs that may be the farthest apart, seen with optimism.

The largest U_i − L_j over a prompt's completions, U = μ + cσ and L = μ − cσ of a reward learnt from
the labels so far (arXiv 2603.09692). With n candidates a prompt, give all their pairs and
`prompts=`.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy
from activedpo.acquisition.duels import candidates, one_a_prompt

OPTIMISM = 1.0
"""c: standard deviations."""


def rank(pool: Pool) -> np.ndarray:
    """Upper bound of the better minus lower bound of the worse: |μ_a − μ_b| + c(σ_a + σ_b)."""
    features, head = candidates(pool)
    mean = features @ head.mean
    spread = np.sqrt(np.einsum("nsd,de,nse->ns", features, head.covariance, features))
    return one_a_prompt(pool, np.abs(mean[:, 0] - mean[:, 1]) + OPTIMISM * spread.sum(1))


STRATEGY = Strategy(
    name="delta_ucb",
    rank=rank,
    summary="Pairs whose answers may be farthest apart in quality, seen with optimism.",
    cost="one pass of the policy, hidden states kept; labels so far again",
    features="hidden",
    needs_past=True,
)
