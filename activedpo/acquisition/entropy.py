"""`entropy`: prompts where the policy is least sure what to write.

H(x) ≈ −(1/N) Σ_n log π_θ(y_n | x), y_n ~ π_θ(· | x); the largest are taken (arXiv 2402.08114, §3).
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, entropies


def rank(pool: Pool) -> np.ndarray:
    """H itself: large entropy is wanted."""
    return entropies(pool)


STRATEGY = Strategy(
    name="entropy",
    rank=rank,
    summary="Prompts where the policy is least sure what to write.",
    cost="N samples a prompt",
    needs_entropy=True,
)
