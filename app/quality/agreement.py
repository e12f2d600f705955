"""Agreement between annotators, from how often each value was given to a pair. Pure numpy.

Fleiss, 1971 (the mean over pairs where their numbers of answers differ); Cohen, 1960;
Krippendorff, Content Analysis, ch. 12, nominal data: a test compares it with the ``krippendorff``
package. Counts enter with how often they occur, so a million pairs are a dozen rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

VALUES = ("a", "b", "tie", "both_bad")
DRAWS = 1_000
Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class Agreement:
    """Of ``pairs`` with two answers or more.

    ``percent`` is in [0, 1]; ``fleiss_kappa`` and ``alpha`` have their 95 % intervals. None where
    nothing can be said: no such pair, or every answer is the same value, so that chance explains
    all of it.
    """

    pairs: int = 0
    percent: float | None = None
    fleiss_kappa: float | None = None
    fleiss_kappa_low: float | None = None
    fleiss_kappa_high: float | None = None
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None


def agreement(counts: NDArray[np.int64], times: NDArray[np.int64], seed: int = 0) -> Agreement:
    """Agreement within pairs.

    Args:
        counts: how many annotators gave each of the values, shape (k, values).
        times: how many pairs have these counts, shape (k,).
        seed: of the bootstrap, which draws pairs with replacement.
    """
    several = (counts.sum(axis=1) > 1) & (times > 0)
    given, times = counts[several].astype(np.float64), times[several]
    if not len(times):
        return Agreement()
    pairs = int(times.sum())
    drawn = np.random.default_rng(seed).multinomial(pairs, times / pairs, size=DRAWS)
    kappa, kappa_low, kappa_high = _with_interval(partial(_fleiss, given), times, drawn)
    alpha, alpha_low, alpha_high = _with_interval(partial(_alpha, given), times, drawn)
    return Agreement(
        pairs=pairs,
        percent=float(_alike(given) @ times / pairs),
        fleiss_kappa=kappa,
        fleiss_kappa_low=kappa_low,
        fleiss_kappa_high=kappa_high,
        alpha=alpha,
        alpha_low=alpha_low,
        alpha_high=alpha_high,
    )


def _with_interval(
    measure: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    times: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> tuple[float | None, float | None, float | None]:
    """A measure, and the middle 95 % of what it is over the draws (percentile bootstrap)."""
    found = measure(drawn)
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
    return _number(measure(times[None])[0]), _number(low), _number(high)


def _alike(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which share of the pairs of answers to each pair are alike."""
    m = counts.sum(axis=1)
    alike: NDArray[np.float64] = (counts * (counts - 1)).sum(axis=1) / (m * (m - 1))
    return alike


def _fleiss(counts: NDArray[np.float64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fleiss' κ for each row of ``times``, shape (draws,)."""
    percent = times @ _alike(counts) / times.sum(axis=1)
    shares = times @ counts / (times @ counts.sum(axis=1))[:, None]
    return _beyond_chance(percent, (shares**2).sum(axis=1))


def _beyond_chance(
    percent: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, (percent - chance) / (1 - chance), np.nan)


def _alpha(counts: NDArray[np.float64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Krippendorff's α for each row of ``times``, shape (draws,): 1 - observed / expected."""
    m = counts.sum(axis=1)
    differing = (m**2 - (counts**2).sum(axis=1)) / (m - 1)
    totals = times @ counts
    n = totals.sum(axis=1)
    expected = (n**2 - (totals**2).sum(axis=1)) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - times @ differing / expected, np.nan)


def of_table(table: NDArray[np.int64]) -> Agreement:
    """Agreement of one annotator with another, or with several: each comparison has two answers.

    The kappa of it is Scott's π, the two-annotator case of Fleiss'.

    Args:
        table: comparisons by the value that one (rows) and the other (columns) gave, shape (v, v).
    """
    values = len(table)
    one, other = np.divmod(np.arange(values * values), values)
    counts = np.zeros((values * values, values), dtype=np.int64)
    np.add.at(counts, (np.arange(values * values), one), 1)
    np.add.at(counts, (np.arange(values * values), other), 1)
    return agreement(counts, table.reshape(-1))


@dataclass(frozen=True)
class OfTwoPeople:
    """Of two annotators: ``percent`` in [0, 1], and Cohen's κ with its 95 % interval."""

    percent: float | None = None
    kappa: float | None = None
    kappa_low: float | None = None
    kappa_high: float | None = None


def cohen(table: NDArray[np.int64], seed: int = 0) -> OfTwoPeople:
    """How far two annotators agree.

    Args:
        table: pairs by the value that one (rows) and the other (columns) gave, shape (v, v).
        seed: of the bootstrap, which draws pairs with replacement.
    """
    total = int(table.sum())
    if total == 0:
        return OfTwoPeople()
    cells = table.reshape(-1)
    drawn = np.random.default_rng(seed).multinomial(total, cells / total, size=DRAWS)
    kappa, low, high = _with_interval(_cohen, cells, drawn)
    return OfTwoPeople(float(np.trace(table) / total), kappa, low, high)


def _cohen(times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cohen's κ for each row of ``times``, the cells of a table one after the other."""
    values = math.isqrt(times.shape[1])
    tables = times.reshape(-1, values, values)
    total = times.sum(axis=1)
    percent = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1) / total**2
    return _beyond_chance(percent, chance)


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """The 95 % interval of a share (Wilson, 1927); None of nothing."""
    if total == 0:
        return None
    share, square = hits / total, Z**2 / total
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
