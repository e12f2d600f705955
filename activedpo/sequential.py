"""When enough has been asked: a test of a mean that may be looked at after every answer.

A fixed-size interval (Wilson's, say) is wrong for who looks after each answer and stops as soon as
one half lies outside: looked at often enough, it does so sooner or later though both sides are
equally good. What stands here holds at all times at once.

For scores x_1, x_2, ... in [0, 1] whose conditional mean is m, and any λ in [-1/(1-m), 1/m] that
is fixed in advance,

    K_t(m, λ) = Π_{i ≤ t} (1 + λ (x_i - m))

is a nonnegative martingale that begins at 1: the capital of who bets against the mean m. So is its
average over a fixed set of bets. By Ville's inequality it reaches 1/α with probability α at most,
*whenever* one looks. Reaching 1/α therefore refutes m at level α, and the m that are not refuted
are a confidence sequence.

Sources: Ville, *Étude critique de la notion de collectif*, 1939; Robbins, *Statistical methods
related to the law of the iterated logarithm*, Ann. Math. Statist. 41, 1970 (mixtures);
Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 86(1),
2024, arXiv:2010.09686.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BETS = 200
"""Bets in the mixture: shares -0.995, -0.985, ... 0.995 of what may be staked at most."""

STEPS = 1_000
"""Means looked at for a confidence sequence."""

_SHARES = (2 * np.arange(BETS) + 1) / BETS - 1


def log_evidence(scores: Mapping[float, int], mean: float | Floats = 0.5) -> Floats:
    """log of the capital won against ``mean``: log (1/J) Σ_j Π_x (1 + λ_j (x - mean))^{n_x}.

    λ_j is the share f_j of the largest stake: f_j / mean for f_j > 0, f_j / (1 - mean) else.
    Without ties and at one half the factors are 1 + f and 1 - f, whose average over f in (-1, 1)
    is the Bernoulli mixture 2^n B(wins + 1, losses + 1) of Robbins, here as a sum. A tie (one
    half) changes nothing there. The order of the scores does not matter.

    Args:
        scores: how often each score in [0, 1] came; a win is 1, a tie ½, a loss 0.
        mean: in (0, 1), any shape.

    Raises:
        ValueError: a score outside [0, 1], or a mean outside (0, 1).
    """
    if any(not 0 <= x <= 1 for x in scores):
        raise ValueError(f"scores must be in [0, 1], not {sorted(scores)}")
    means = np.asarray(mean, dtype=np.float64)[..., None]
    if not ((means > 0) & (means < 1)).all():
        raise ValueError("a mean must be in (0, 1)")
    stakes = _SHARES / np.where(_SHARES > 0, means, 1 - means)
    won = sum(n * np.log1p(stakes * (x - means)) for x, n in scores.items() if n)
    logs = np.broadcast_to(np.asarray(won, dtype=np.float64), stakes.shape)
    top = logs.max(axis=-1)
    total: Floats = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return total


def evidence(scores: Mapping[float, int], mean: float = 0.5) -> float:
    """The capital itself (an e-value): at 1/α or above, ``mean`` is refuted at level α."""
    return math.exp(min(float(log_evidence(scores, mean)), 700.0))


def refuted(scores: Mapping[float, int], alpha: float, mean: float = 0.5) -> bool:
    """Whether ``mean`` is refuted at level ``alpha``, however often this was asked before.

    Raises:
        ValueError: alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), not {alpha}")
    return bool(log_evidence(scores, mean) >= -math.log(alpha))


def confidence_sequence(scores: Mapping[float, int], alpha: float) -> tuple[float, float]:
    """The means that are not refuted at level ``alpha``: they hold the true one at all times at
    once with probability 1 - alpha. (0, 1) before the first score.

    The hull of what is not refuted on a grid of `STEPS`, a step wider on both sides.
    """
    grid = np.arange(1, STEPS) / STEPS
    inside = np.flatnonzero(log_evidence(scores, grid) < -math.log(alpha))
    if not len(inside):  # all of a long row of scores between two points of the grid
        n = sum(scores.values())
        mean = sum(x * count for x, count in scores.items()) / n
        return max(0.0, mean - 1 / STEPS), min(1.0, mean + 1 / STEPS)
    return float(grid[inside[0]] - 1 / STEPS), float(grid[inside[-1]] + 1 / STEPS)
