"""`entropy_certainty`: entropy picks the prompts, |margin| the pairs among them.

The shortlist holds the `shortlist` · m pairs of largest H; where that is the whole pool, its half
(never fewer than m), or this would be `certainty` under another name. Within it the largest
|margin| comes first, behind it the rest by H (arXiv 2402.08114, §3).
"""

from __future__ import annotations

import math

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, entropies, margins


def rank(pool: Pool) -> np.ndarray:
    """|margin| above all that is not shortlisted, H below."""
    entropy = entropies(pool)
    size = max(pool.m, math.ceil(pool.shortlist * pool.m))
    if size >= pool.size:
        size = max(min(pool.m, pool.size), math.ceil(pool.size / 2))
    # lexsort: by entropy, ties in random order so that the seed decides who is let through.
    order = np.lexsort((pool.rng.random(pool.size), -entropy))
    listed = np.zeros(pool.size, dtype=bool)
    listed[order[:size]] = True
    below = entropy - entropy.max() - 1.0
    return np.where(listed, margins(pool), below)


STRATEGY = Strategy(
    name="entropy_certainty",
    rank=rank,
    summary="Prompts the policy is unsure about, and among them the pairs it is surest about.",
    cost="N samples a prompt, one pass of policy and reference",
    needs_scores=True,
    needs_entropy=True,
    needs_margin=True,
)
