"""Agreement between annotators, from how often each value was given to a pair. Pure numpy.

Fleiss, 1971 (the mean over pairs where their numbers of answers differ); Cohen, 1960;
Krippendorff, Content Analysis, ch. 12, nominal data: a test compares it with the ``krippendorff``
package. Counts enter with how often they occur, so a million pairs are a dozen rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VALUES = ("a", "b", "tie", "both_bad")
DRAWS = 1_000
Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class Agreement:
    """Of ``pairs`` with two answers or more.

    ``percent`` is in [0, 1]; ``alpha`` with its 95 % interval. None where nothing can be said:
    no such pair, or every answer is the same value, so that chance explains all of it.
    """

    pairs: int = 0
    percent: float | None = None
    fleiss_kappa: float | None = None
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
    m = given.sum(axis=1)
    within = (given * (given - 1)).sum(axis=1) / (m * (m - 1))
    percent = float(within @ times / pairs)
    shares = times @ given / (times @ m)
    chance = float(shares @ shares)
    drawn = np.random.default_rng(seed).multinomial(pairs, times / pairs, size=DRAWS)
    alphas = _alpha(given, drawn)
    known = alphas[~np.isnan(alphas)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
    return Agreement(
        pairs=pairs,
        percent=percent,
        fleiss_kappa=_number((percent - chance) / (1 - chance) if chance < 1 else math.nan),
        alpha=_number(_alpha(given, times[None])[0]),
        alpha_low=_number(low),
        alpha_high=_number(high),
    )


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


def cohen(table: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Percent in [0, 1] and Cohen's κ of two annotators.

    Args:
        table: pairs by the value that one (rows) and the other (columns) gave, shape (v, v).
    """
    total = table.sum()
    if total == 0:
        return None, None
    percent = float(np.trace(table) / total)
    chance = float(table.sum(axis=1) @ table.sum(axis=0) / total**2)
    return percent, _number((percent - chance) / (1 - chance) if chance < 1 else math.nan)


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
