"""Agreement by hand, against the reference package, and with intervals that cover."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from app.quality.agreement import (
    Agreement,
    OfTwoPeople,
    agreement,
    cohen,
    of_table,
    wilson,
)


def of(rows: list[list[int]], times: list[int] | None = None) -> Agreement:
    counts = np.array(rows)
    return agreement(counts, np.array(times or [1] * len(rows)))


def test_by_hand() -> None:
    """Two annotators, ten pairs: aa x 4, bb x 3, ab x 3.

    Percent 7/10. Shares a 11/20, b 9/20: chance 202/400, Fleiss (0.7 - 0.505) / 0.495.
    Alpha: observed 6 differing values of 20, expected (400 - 202) / 19: 1 - 6 * 19 / 198.
    """
    found = of([[2, 0], [0, 2], [1, 1]], [4, 3, 3])
    assert found.pairs == 10
    assert found.percent == pytest.approx(0.7)
    assert found.fleiss_kappa == pytest.approx((0.7 - 0.505) / 0.495)
    assert found.alpha == pytest.approx(1 - 6 * 19 / 198)


@pytest.mark.parametrize("seed", range(8))
def test_alpha_is_that_of_the_reference_package(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(1, [0.4, 0.3, 0.2, 0.1], size=(40, 5)).cumsum(axis=1)
    counts = counts[np.arange(40), rng.integers(0, 5, 40)]  # one to five answers a pair
    kept = counts[counts.sum(axis=1) > 1]
    wanted = krippendorff.alpha(value_counts=kept, level_of_measurement="nominal")
    assert of(counts.tolist()).alpha == pytest.approx(wanted)


def test_how_often_counts_occur_is_the_same_as_listing_them() -> None:
    rows, times = [[2, 0, 1], [0, 3, 0], [1, 1, 1]], [5, 2, 4]
    listed = [row for row, n in zip(rows, times, strict=True) for _ in range(n)]
    few, many = of(rows, times), of(listed)
    assert few.alpha == pytest.approx(many.alpha)
    assert few.fleiss_kappa == pytest.approx(many.fleiss_kappa)
    assert (few.pairs, few.percent) == (many.pairs, pytest.approx(many.percent))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    kinds, chances = np.array([[2, 0], [0, 2], [1, 1]]), [0.4, 0.3, 0.3]
    truth = of(kinds.tolist(), [400_000, 300_000, 300_000]).alpha
    assert truth is not None
    hits = 0
    for seed in range(200):
        found = agreement(kinds, rng.multinomial(150, chances), seed)
        assert found.alpha_low is not None
        assert found.alpha_high is not None
        hits += found.alpha_low <= truth <= found.alpha_high
    assert 180 <= hits <= 199


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert of([[1, 0], [0, 1]]) == Agreement()
    same = of([[2, 0]], [5])
    assert (same.pairs, same.percent) == (5, 1.0)
    assert same.fleiss_kappa is same.alpha is same.alpha_low is None


def test_cohen_by_hand() -> None:
    """Cohen's own kind of table: agreement 35/50, chance (25·30 + 25·20) / 2500."""
    found = cohen(np.array([[20, 5], [10, 15]]))
    assert found.percent == pytest.approx(0.7)
    assert found.kappa == pytest.approx((0.7 - 0.5) / 0.5)
    assert cohen(np.zeros((4, 4), dtype=int)) == OfTwoPeople()
    assert cohen(np.array([[9, 0], [0, 0]])) == OfTwoPeople(1.0)


def test_the_intervals_of_both_kappas_cover_the_truth() -> None:
    """Tables of a population whose kappas are known: both cover in about 95 of 100."""
    chances = np.array([[0.35, 0.10], [0.15, 0.40]])
    kappa = (0.75 - (0.45 * 0.5 + 0.55 * 0.5)) / (1 - (0.45 * 0.5 + 0.55 * 0.5))
    either = (chances.sum(axis=0) + chances.sum(axis=1)) / 2
    scott = (0.75 - float(either @ either)) / (1 - float(either @ either))
    rng = np.random.default_rng(3)
    hits = [0, 0]
    for seed in range(200):
        table = rng.multinomial(150, chances.reshape(-1)).reshape(2, 2)
        two, both = cohen(table, seed), of_table(table)
        assert two.kappa_low is not None
        assert two.kappa_high is not None
        assert both.fleiss_kappa_low is not None
        assert both.fleiss_kappa_high is not None
        hits[0] += two.kappa_low <= kappa <= two.kappa_high
        hits[1] += both.fleiss_kappa_low <= scott <= both.fleiss_kappa_high
    assert all(180 <= count <= 199 for count in hits), hits


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for hits, total in ((0, 10), (3, 10), (50, 60), (7, 7)):
        wanted = binomtest(hits, total).proportion_ci(method="wilson")
        assert wilson(hits, total) == pytest.approx((wanted.low, wanted.high))
    assert wilson(0, 0) is None
