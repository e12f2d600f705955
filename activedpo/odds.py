"""Between probabilities and log-odds; plain numbers, no torch."""

from __future__ import annotations

import math

FURTHEST = 30.0
"""Log-odds beyond which nothing is told apart."""


def log_odds(p: float) -> float:
    """log(p / (1 − p)), kept within `FURTHEST`."""
    if p <= 0 or p >= 1:
        return math.copysign(FURTHEST, p - 0.5)
    return max(-FURTHEST, min(FURTHEST, math.log(p) - math.log1p(-p)))


def sigmoid(x: float) -> float:
    """1 / (1 + exp(−x)); overflows on neither side."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
