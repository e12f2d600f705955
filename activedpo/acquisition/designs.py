"""Greedy batches: each pick changes what the next one is worth."""

from __future__ import annotations

import numpy as np

from activedpo.acquisition.base import Pool, in_order

GREEDY = 4_096
"""Most picks that are made one by one; a larger batch is filled by the first values."""


def d_optimal(
    pool: Pool, x: np.ndarray, weights: np.ndarray, information: np.ndarray
) -> np.ndarray:
    """Values (n,) of a greedy D-optimal batch: the largest weight · xᵀF⁻¹x, F growing with it.

    Args:
        x: (n, d) differences; weights: (n,) w of each; information: F (d, d) of the past.
    """
    inverse = np.linalg.inv(information)
    left = np.einsum("nd,de,ne->n", x, inverse, x)
    first = weights * left
    open_, picks = np.ones(pool.size, dtype=bool), list[int]()
    ties = pool.rng.random(pool.size)
    for _ in range(min(pool.m, pool.size, GREEDY)):
        pick = best(weights * left, open_, ties)
        factor = weights[pick] / (1 + weights[pick] * left[pick])
        g = inverse @ x[pick]
        left = left - factor * (x @ g) ** 2
        inverse = inverse - factor * np.outer(g, g)
        open_[pick] = False
        picks.append(pick)
    return in_order(picks, first)


def v_optimal(
    pool: Pool,
    x: np.ndarray,
    weights: np.ndarray,
    information: np.ndarray,
    target: np.ndarray,
) -> np.ndarray:
    """Values (n,) of a greedy batch that lowers tr(T F⁻¹) most.

    One more label i changes F⁻¹ =: G by Sherman-Morrison, and the trace by
    w xᵀGTGx / (1 + w xᵀGx): that is its value.
    """
    inverse = np.linalg.inv(information)
    first: np.ndarray | None = None
    open_, picks = np.ones(pool.size, dtype=bool), list[int]()
    ties = pool.rng.random(pool.size)
    seen = x @ inverse
    for _ in range(min(pool.m, pool.size, GREEDY)):
        gain = weights * np.einsum("nd,de,ne->n", seen, target, seen)
        gain = gain / (1 + weights * (seen * x).sum(1))
        first = gain if first is None else first
        pick = best(gain, open_, ties)
        factor = weights[pick] / (1 + weights[pick] * float(seen[pick] @ x[pick]))
        # Rows of XG after the update; G itself is not needed any more.
        seen = seen - factor * np.outer(seen @ x[pick], seen[pick])
        open_[pick] = False
        picks.append(pick)
    return in_order(picks, np.zeros(pool.size) if first is None else first)


def k_centre(pool: Pool, points: np.ndarray, start: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Values (n,) of a greedy k-centre batch (Gonzalez 1985): always the point farthest from all
    that were picked, the first by the largest `start`.

    Args:
        points: (n, d); start: (n,) values, which also rank what is not picked.
        among: (n,) bool: picks come from here.
    """
    picks = list[int]()
    open_, ties = among.copy(), pool.rng.random(pool.size)
    nearest = np.full(pool.size, np.inf)
    for place in range(min(pool.m, int(among.sum()), GREEDY)):
        pick = best(start if place == 0 else nearest, open_, ties)
        nearest = np.minimum(nearest, np.square(points - points[pick]).sum(1))
        open_[pick] = False
        picks.append(pick)
    return in_order(picks, start)


def best(values: np.ndarray, open_: np.ndarray, ties: np.ndarray) -> int:
    """The open index of the largest value; near-equal ones by the seed's numbers."""
    masked = np.where(open_, values, -np.inf)
    top = masked.max()
    near = open_ & (masked >= top - 1e-9 * max(1.0, abs(top)))
    return int(np.flatnonzero(near)[np.argmax(ties[near])])
