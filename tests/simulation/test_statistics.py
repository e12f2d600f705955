"""Areas, intervals and tests, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from activedpo.simulation.statistics import area, bootstrap, compare, holm, labels_to_reach


def test_area_by_hand() -> None:
    """0.5 → 0.7 over 100 labels, 0.7 → 0.9 over 300: (60 + 240) / 400."""
    assert area([100, 200, 500], np.array([0.5, 0.7, 0.9])) == pytest.approx(0.75)
    assert area([7], np.array([0.6])) == 0.6


def test_labels_to_reach_between_rounds() -> None:
    curve = np.array([0.5, 0.7, 0.6, 0.9])
    assert labels_to_reach([10, 20, 30, 40], curve, 0.6) == 15
    assert labels_to_reach([10, 20, 30, 40], curve, 0.4) == 10
    assert labels_to_reach([10, 20, 30, 40], curve, 0.75) == 35
    assert math.isnan(labels_to_reach([10, 20, 30, 40], curve, 0.95))


def test_holm_by_hand() -> None:
    """.01 · 4, .02 · 3, .03 · 2 and .2 · 1; none below the one before it."""
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def coins(share: float, seeds: int, items: int, rng: np.random.Generator) -> dict[int, np.ndarray]:
    return {s: (rng.random((2, items)) < share).astype(float) for s in range(seeds)}


def test_the_interval_covers_what_is_true() -> None:
    """Of a hundred experiments without a difference, about 95 intervals hold 0."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        draws = bootstrap(coins(0.6, 8, 60, rng), coins(0.6, 8, 60, rng), rng, draws=200)
        low, high = np.quantile(draws[:, 0], [0.025, 0.975])
        held += low <= 0 <= high
    assert 80 <= held <= 100


def test_a_real_difference_is_found_and_no_difference_is_not() -> None:
    rng = np.random.default_rng(1)
    arms = {
        "random": coins(0.6, 6, 200, rng),
        "better": coins(0.75, 6, 200, rng),
        "same": coins(0.6, 6, 200, rng),
    }
    found = compare(arms, [10, 20])
    assert set(found) == {"better", "same"}
    better = found["better"]
    assert better.against == pytest.approx(0.15, abs=0.04)
    assert better.low > 0
    assert better.adjusted < 0.01
    assert better.half == 10
    assert found["same"].low < 0 < found["same"].high
    assert better.best[1] >= better.against - 1e-9
