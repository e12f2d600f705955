"""What every strategy promises, whatever it goes by: one suite over the name map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from activedpo import acquisition
from activedpo.acquisition import Past
from activedpo.errors import InvalidScores, PoolTooSmall, UnknownAcquisition
from tests.acquisition.conftest import Case, case, scores_of

NAMES = acquisition.names()
BY_VALUE = [name for name in NAMES if name != "random"]
"""Those that look at the pairs: chance alone is drawn by place."""

every = pytest.mark.parametrize("name", NAMES)


@every
def test_it_takes_m_distinct_pairs(name: str, pool: Case) -> None:
    picked = pool.acquire(name, 8)
    assert picked.shape == (8,)
    assert picked.dtype == np.int64
    assert len(set(picked.tolist())) == 8
    assert set(picked.tolist()) <= set(range(30))


@every
def test_the_same_seed_takes_the_same(name: str, pool: Case) -> None:
    assert pool.acquire(name, 8, seed=3).tolist() == pool.acquire(name, 8, seed=3).tolist()


@pytest.mark.parametrize("name", BY_VALUE)
def test_the_order_of_the_pool_does_not_matter(name: str, pool: Case) -> None:
    order = np.random.default_rng(1).permutation(30)
    assert order[pool.of(order).acquire(name, 8)].tolist() == pool.acquire(name, 8).tolist()


@every
def test_a_pool_is_drained_to_the_end(name: str, pool: Case) -> None:
    assert sorted(pool.acquire(name, 30).tolist()) == list(range(30))
    assert sorted(pool.acquire(name, None).tolist()) == list(range(30))


@every
def test_a_batch_of_one_and_of_none(name: str, pool: Case) -> None:
    assert pool.acquire(name, 1).shape == (1,)
    assert pool.acquire(name, 0).shape == (0,)


@every
def test_a_pool_of_one_pair_is_ranked(name: str) -> None:
    assert case(n=1).acquire(name, 1).tolist() == [0]


@every
def test_more_than_the_pool_holds_is_refused(name: str, pool: Case) -> None:
    with pytest.raises(PoolTooSmall, match="31"):
        pool.acquire(name, 31)


@every
def test_ties_are_broken_by_the_seed(name: str) -> None:
    """Thirty pairs that are the same in every respect: any may come first."""
    same = case(n=1).of(np.zeros(30, dtype=int))
    first = {int(same.acquire(name, 1, seed=seed)[0]) for seed in range(40)}
    assert len(first) > 10


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_the_pairs_name(name: str, bad: float, pool: Case) -> None:
    wanted = acquisition.strategy(name)
    ids = [f"pair-{i}" for i in range(30)]
    checks = [
        (wanted.needs_scores, _with_margin(pool, bad)),
        (wanted.needs_entropy, dataclasses.replace(pool, entropy=_with(pool.entropy, bad))),
        (bool(wanted.features), dataclasses.replace(pool, features=_with(pool.features, bad))),
    ]
    for reads, broken in checks:
        if reads:
            with pytest.raises(InvalidScores, match="pair-4"):
                broken.acquire(name, 3, ids=ids)
    assert name == "random" or any(reads for reads, _ in checks)


@every
def test_what_it_reads_may_not_be_missing(name: str, pool: Case) -> None:
    wanted = acquisition.strategy(name)
    missing = [
        (wanted.needs_entropy, {"entropy": None}),
        (bool(wanted.features), {"features": None}),
    ]
    for reads, without in missing:
        if reads:
            with pytest.raises(InvalidScores, match="needs"):
                pool.acquire(name, 3, **without)


@every
def test_without_anything_to_go_by_it_starts_cold(name: str, pool: Case) -> None:
    """Before the first training and the first label: what needs them draws like `random`."""
    cold = dataclasses.replace(pool, scores=scores_of(np.zeros(30)), past=None)
    wanted = acquisition.strategy(name)
    as_random = cold.acquire(name, 8).tolist() == cold.acquire("random", 8).tolist()
    assert as_random == (wanted.needs_margin or wanted.needs_past or name == "random")
    if wanted.needs_margin or wanted.needs_past:
        by_entropy = cold.acquire(name, 8, cold_start="entropy")
        assert by_entropy.tolist() == cold.acquire("entropy", 8).tolist()
        spread = cold.acquire(name, 8, cold_start="diverse")
        assert spread.tolist() == cold.acquire("diverse", 8).tolist()


@every
def test_what_is_not_to_be_kept_comes_last(name: str, pool: Case) -> None:
    keep = np.arange(30) % 3 != 0
    order = pool.acquire(name, None, keep=keep)
    assert set(order[:20].tolist()) == set(np.flatnonzero(keep).tolist())


@every
def test_it_says_what_it_is_for_and_what_it_costs(name: str) -> None:
    wanted = acquisition.strategy(name)
    assert wanted.name == name
    assert wanted.summary.endswith(".")
    assert wanted.cost


def test_an_unknown_name_is_told_the_known_ones(pool: Case) -> None:
    with pytest.raises(UnknownAcquisition, match="certainty"):
        pool.acquire("certain", 3)


def test_an_unknown_cold_start_is_refused(pool: Case) -> None:
    cold = dataclasses.replace(pool, scores=scores_of(np.zeros(30)))
    with pytest.raises(ValueError, match="cold_start"):
        cold.acquire("certainty", 3, cold_start="warm")


def test_labels_that_do_not_fit_the_pool_are_refused(pool: Case) -> None:
    narrow = Past(np.zeros((3, 2, 4)), np.ones(3))
    with pytest.raises(InvalidScores, match="features of label"):
        pool.acquire("fisher", 3, past=narrow)


def _with(values: np.ndarray, bad: float) -> np.ndarray:
    changed = values.copy()
    changed[4] = bad
    return changed


def _with_margin(pool: Case, bad: float) -> Case:
    margin = _with(pool.scores.margin, bad)
    return dataclasses.replace(pool, scores=dataclasses.replace(pool.scores, margin=margin))
