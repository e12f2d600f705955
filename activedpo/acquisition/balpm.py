"""`balpm`: pairs that the labels so far leave open, spread over unlike prompts.

Greedy: the largest U + b · log d, U the epistemic uncertainty (BALD of `ensemble`, over its mean in
the pool, so that b is the same for all models) and d the distance to the nearest prompt that is
labelled or picked: log d is what the prompt adds to the nearest-neighbour estimate of the entropy
of all labelled prompts (Kozachenko & Leonenko 1987). After BAL-PM, arXiv 2406.10023. A
prompt's feature is the mean of its two completions' hidden states, which saw the prompt.
"""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, Strategy, completions, in_order
from activedpo.acquisition.designs import GREEDY, best
from activedpo.acquisition.ensemble import disagreement

WEIGHT = 1.0
"""b."""


def rank(pool: Pool) -> np.ndarray:
    """U + b · log d, pick by pick."""
    uncertain = disagreement(pool)
    uncertain = uncertain / (uncertain.mean() or 1.0)
    points = completions(pool).mean(1)
    nearest = _to_known(pool, points)
    first = uncertain + WEIGHT * np.log(nearest)
    open_, picks, ties = np.ones(pool.size, dtype=bool), list[int](), pool.rng.random(pool.size)
    for _ in range(min(pool.m, pool.size, GREEDY)):
        pick = best(uncertain + WEIGHT * np.log(nearest), open_, ties)
        nearest = np.minimum(nearest, _distance(points, points[pick]))
        open_[pick] = False
        picks.append(pick)
    return in_order(picks, first)


def _to_known(pool: Pool, points: np.ndarray) -> np.ndarray:
    """Distance of each prompt to the nearest labelled one."""
    assert pool.past is not None  # checked by `acquire`
    nearest = np.full(pool.size, np.inf)
    for known in pool.past.features.mean(1):
        nearest = np.minimum(nearest, _distance(points, known))
    return nearest


def _distance(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    # A prompt that comes again adds nothing, but log 0 would rank all such alike.
    found: np.ndarray = np.sqrt(np.square(points - point).sum(1)) + 1e-6
    return found


STRATEGY = Strategy(
    name="balpm",
    rank=rank,
    summary="Pairs that the labels so far leave open, spread over prompts unlike each other.",
    cost="one pass of the policy, hidden states kept; labels so far again",
    features="hidden",
    needs_past=True,
)
