"""From rounds to statements: areas, labels saved, intervals, tests.

Paired throughout: an arm is compared with random on the same seeds and the same evaluation prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Curves = Mapping[int, np.ndarray]
"""Of one arm: seed -> verdicts of shape (rounds, prompts), each 1, ½ or 0."""

DRAWS = 4_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against random.

    Args:
        area: mean height of the arm's curve; against: difference to random's, with its 95 %
            interval `low`, `high` by hierarchical bootstrap and the two-sided `p` of no difference
            (1 where there is one seed only).
        adjusted: p after Holm's correction over all arms.
        half: labels to reach random's final level, or NaN where it is never reached.
        best: the largest mean difference at one number of labels, and there the interval.
    """

    area: float
    against: float
    low: float
    high: float
    p: float
    adjusted: float
    half: float
    best: tuple[int, float, float, float]


def area(labels: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Area under value against labels by trapezoids, divided by the span: a mean height.

    Args:
        values: (..., rounds).
    """
    x, y = np.asarray(labels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(x) == 1:
        only: np.ndarray = y[..., 0]
        return only
    total: np.ndarray = np.trapezoid(y, x, axis=-1) / (x[-1] - x[0])
    return total


def labels_to_reach(labels: Sequence[int], values: np.ndarray, level: float) -> float:
    """The fewest labels at which a curve, linear between rounds, is at `level`; else NaN."""
    for place, value in enumerate(values):
        if value < level:
            continue
        if place == 0:
            return float(labels[0])
        before, step = values[place - 1], labels[place] - labels[place - 1]
        return float(labels[place - 1] + step * (level - before) / (value - before))
    return math.nan


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of k p-values."""
    order = np.argsort(p)
    adjusted, largest = [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


def bootstrap(
    ours: Curves, theirs: Curves, rng: np.random.Generator, draws: int = DRAWS
) -> np.ndarray:
    """Draws of the paired mean difference at each round, (draws, rounds).

    Hierarchical: seeds first, then prompts, both with replacement, the same for both arms. The
    prompts are the same for all seeds, so one draw of prompts serves a whole replicate.
    """
    seeds = sorted(set(ours) & set(theirs))
    gaps = np.stack([ours[s] - theirs[s] for s in seeds])
    n, _, prompts = gaps.shape
    found = np.empty((draws, gaps.shape[1]))
    for draw in range(draws):
        counts = np.bincount(rng.integers(n, size=n), minlength=n) / n
        weights = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts) / prompts
        found[draw] = np.tensordot(counts, gaps @ weights, 1)
    return found


def compare(
    arms: Mapping[str, Curves], labels: Sequence[int], baseline: str = "random", seed: int = 0
) -> dict[str, Comparison]:
    """Every other arm against the baseline; see `Comparison`."""
    base = arms[baseline]
    final = float(np.mean([curve[-1].mean() for curve in base.values()]))
    found = {
        arm: _comparison(curves, base, labels, final, np.random.default_rng(seed))
        for arm, curves in arms.items()
        if arm != baseline
    }
    adjusted = holm([one.p for one in found.values()])
    return {
        arm: Comparison(one.area, one.against, one.low, one.high, one.p, p, one.half, one.best)
        for (arm, one), p in zip(found.items(), adjusted, strict=True)
    }


def _comparison(
    ours: Curves, theirs: Curves, labels: Sequence[int], final: float, rng: np.random.Generator
) -> Comparison:
    seeds = sorted(set(ours) & set(theirs))
    mean = np.mean([ours[s].mean(1) for s in seeds], axis=0)
    gap = mean - np.mean([theirs[s].mean(1) for s in seeds], axis=0)
    draws = bootstrap(ours, theirs, rng)
    areas = area(labels, draws)
    low, high = np.quantile(areas, [0.025, 0.975])
    # Two-sided, with the +1 that keeps a p-value from being 0 (Davison & Hinkley 1997, eq. 4.11).
    tail = min((areas <= 0).sum(), (areas >= 0).sum())
    # One seed tells nothing about others: its interval is over prompts alone, and no test.
    p = min(1.0, 2 * (tail + 1) / (len(areas) + 1)) if len(seeds) > 1 else 1.0
    best = int(np.argmax(gap))
    between = np.quantile(draws[:, best], [0.025, 0.975])
    return Comparison(
        area=float(area(labels, mean)),
        against=float(area(labels, gap)),
        low=float(low),
        high=float(high),
        p=float(p),
        adjusted=float(p),
        half=labels_to_reach(labels, mean, final),
        best=(labels[best], float(gap[best]), float(between[0]), float(between[1])),
    )
