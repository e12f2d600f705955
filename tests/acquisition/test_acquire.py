"""`acquire` itself: arguments, ties, cold starts, plug-ins; `test_contract` has every strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import activedpo.acquisition
from activedpo import Scores, acquire
from activedpo.acquisition import STRATEGIES, Pool, Strategy, is_cold, names
from activedpo.errors import InvalidScores, PoolTooSmall, UnknownAcquisition

EVERY = pytest.mark.parametrize("name", sorted(n for n, s in STRATEGIES.items() if not s.features))


def scores(margin: list[float] | np.ndarray) -> Scores:
    margin = np.asarray(margin, dtype=np.float64)
    zeros, ones = np.zeros(len(margin)), np.ones(len(margin), dtype=np.int64)
    return Scores(zeros, zeros, zeros, zeros, margin, ones, ones, np.zeros(len(margin), bool))


def a_pool(n: int = 20, seed: int = 0) -> tuple[Scores, np.ndarray]:
    rng = np.random.default_rng(seed)
    return scores(rng.normal(size=n)), rng.gamma(2.0, size=n)


@EVERY
def test_it_gives_m_distinct_indices(name: str) -> None:
    s, entropy = a_pool()
    picked = acquire(name, s, 7, entropy=entropy)
    assert picked.dtype == np.int64
    assert picked.shape == (7,)
    assert len(set(picked.tolist())) == 7
    assert set(picked.tolist()) <= set(range(20))


@EVERY
def test_none_ranks_the_whole_pool(name: str) -> None:
    s, entropy = a_pool()
    assert sorted(acquire(name, s, None, entropy=entropy).tolist()) == list(range(20))


@EVERY
def test_m_of_none_is_the_pool_drained_to_its_end(name: str) -> None:
    s, entropy = a_pool()
    assert sorted(acquire(name, s, 20, entropy=entropy).tolist()) == list(range(20))
    assert acquire(name, s, 0, entropy=entropy).shape == (0,)


@EVERY
def test_the_same_seed_gives_the_same_picks(name: str) -> None:
    s, entropy = a_pool()
    first, second = (acquire(name, s, 7, seed=5, entropy=entropy) for _ in range(2))
    assert first.tolist() == second.tolist()


@EVERY
def test_ties_are_broken_by_the_seed(name: str) -> None:
    tied = scores(np.ones(20))
    picks = {
        tuple(acquire(name, tied, 5, seed=seed, entropy=np.ones(20)).tolist()) for seed in range(8)
    }
    assert len(picks) > 1


@EVERY
def test_more_than_the_pool_is_refused(name: str) -> None:
    s, entropy = a_pool()
    with pytest.raises(PoolTooSmall, match=r"m = 21 .* pool of 20"):
        acquire(name, s, 21, entropy=entropy)
    with pytest.raises(PoolTooSmall):
        acquire(name, s, -1, entropy=entropy)


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_the_pairs_number(name: str, bad: float) -> None:
    s, entropy = a_pool()
    strategy = STRATEGIES[name]
    if strategy.needs_scores:
        s.margin[13] = bad
        with pytest.raises(InvalidScores, match="margin of pair 13"):
            acquire(name, s, 3, entropy=entropy)
    elif strategy.needs_entropy:
        entropy[13] = bad
        with pytest.raises(InvalidScores, match="entropy of pair 13"):
            acquire(name, s, 3, entropy=entropy)
    else:
        assert len(acquire(name, s, 3, entropy=entropy)) == 3


@EVERY
def test_what_it_needs_must_be_there(name: str) -> None:
    strategy = STRATEGIES[name]
    s, entropy = a_pool()
    if strategy.needs_scores:
        with pytest.raises(InvalidScores, match="needs scores"):
            acquire(name, None, 3, entropy=entropy)
    if strategy.needs_entropy:
        with pytest.raises(InvalidScores, match="needs entropy"):
            acquire(name, s, 3)
    if not (strategy.needs_scores or strategy.needs_entropy):
        assert len(acquire(name, None, 3, size=20)) == 3


@EVERY
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_order_of_the_pool_does_not_matter(name: str, data: Any) -> None:
    if name == "random":
        return  # its picks are a function of the seed alone
    n = data.draw(st.integers(2, 15))
    distinct = st.lists(
        st.floats(-50, 50).map(lambda x: round(x, 3)), min_size=n, max_size=n, unique_by=abs
    )
    margin, entropy = np.array(data.draw(distinct)), np.array(data.draw(distinct))
    order = np.array(data.draw(st.permutations(range(n))))
    m = data.draw(st.integers(1, n))
    straight = acquire(name, scores(margin), m, entropy=entropy)
    permuted = acquire(name, scores(margin[order]), m, entropy=entropy[order])
    assert order[permuted].tolist() == straight.tolist()


@EVERY
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_fewer_are_the_first_of_more(name: str, data: Any) -> None:
    s, entropy = a_pool(12, seed=data.draw(st.integers(0, 1000)))
    if name == "entropy_certainty":
        return  # its shortlist grows with m, and so do the picks
    m = data.draw(st.integers(0, 12))
    whole = acquire(name, s, None, seed=1, entropy=entropy)
    assert acquire(name, s, m, seed=1, entropy=entropy).tolist() == whole[:m].tolist()


def test_entropy_takes_the_largest() -> None:
    # The direction matters: a public re-implementation has it the wrong way round.
    assert acquire("entropy", None, 2, entropy=np.array([1.0, 9.0, 3.0])).tolist() == [1, 2]


def test_certainty_takes_the_largest_margin_of_either_sign() -> None:
    assert acquire("certainty", scores([0.1, -5.0, 3.0, 0.2]), 2).tolist() == [1, 2]


def test_closest_call_takes_the_smallest_margin_of_either_sign() -> None:
    assert acquire("closest_call", scores([-0.1, -5.0, 3.0, 0.2]), 2).tolist() == [0, 3]


def test_entropy_certainty_shortlists_by_entropy_then_takes_margins() -> None:
    # Largest margin (pair 0) has the least entropy: it is not on the list of 2 · 1.5 = 3.
    s = scores([9.0, 1.0, -3.0, 2.0])
    entropy = np.array([0.1, 4.0, 3.0, 2.0])
    assert acquire("entropy_certainty", s, 2, entropy=entropy, shortlist=1.5).tolist() == [2, 3]


def test_random_follows_no_score() -> None:
    s, _ = a_pool()
    assert (
        acquire("random", s, 5, seed=1).tolist() == acquire("random", None, 5, 1, size=20).tolist()
    )


def test_random_reaches_every_pair() -> None:
    first = [int(acquire("random", None, 1, seed=seed, size=5)[0]) for seed in range(200)]
    assert np.bincount(first, minlength=5).min() > 20


@pytest.mark.parametrize("name", ["certainty", "closest_call", "entropy_certainty"])
def test_while_all_margins_are_zero_it_starts_cold(name: str) -> None:
    cold, entropy = scores(np.zeros(9)), np.arange(9.0)
    assert is_cold(cold)
    by_chance = acquire(name, cold, 4, seed=3, entropy=entropy)
    assert by_chance.tolist() == acquire("random", None, 4, seed=3, size=9).tolist()
    by_entropy = acquire(name, cold, 4, seed=3, entropy=entropy, cold_start="entropy")
    assert by_entropy.tolist() == [8, 7, 6, 5]


def test_a_cold_start_that_is_none() -> None:
    with pytest.raises(ValueError, match="cold_start must be one of random, entropy"):
        acquire("certainty", scores(np.zeros(3)), 1, cold_start="warm")
    with pytest.raises(InvalidScores, match="needs entropy"):
        acquire("certainty", scores(np.zeros(3)), 1, cold_start="entropy")


def test_one_margin_is_enough_to_be_warm() -> None:
    assert not is_cold(scores([0.0, 0.0, 1e-9]))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownAcquisition, match="known are: balpm, certainty, closest_call"):
        acquire("sorcery", scores([1.0]), 1)


def test_arguments_that_disagree() -> None:
    with pytest.raises(InvalidScores, match=r"disagree about the pool: \[2, 3\]"):
        acquire("random", scores([1.0, 2.0]), 1, entropy=np.ones(3))
    with pytest.raises(InvalidScores, match="size is unclear"):
        acquire("random", None, 1)


@dataclass
class Point:
    """Stands for an installed entry point."""

    name: str
    loaded: object
    value: str = "plugin:STRATEGY"

    def load(self) -> object:
        return self.loaded


def install(monkeypatch: pytest.MonkeyPatch, point: Point) -> None:
    monkeypatch.setattr(activedpo.acquisition, "entry_points", lambda group: [point])
    activedpo.acquisition._plugins.cache_clear()


@pytest.fixture(autouse=True)
def _forget_plugins() -> Any:
    yield
    activedpo.acquisition._plugins.cache_clear()


def test_a_third_party_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def rank(pool: Pool) -> np.ndarray:
        return -np.arange(pool.size, dtype=float)

    install(monkeypatch, Point("in_order", Strategy("in_order", rank, "As they come.", "none")))
    assert "in_order" in names()
    assert acquire("in_order", None, 3, size=9).tolist() == [0, 1, 2]


def test_a_plug_in_that_is_no_strategy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Point("odd", object()))
    with pytest.raises(TypeError, match=r"'odd' \(plugin:STRATEGY\)"):
        names()


def test_every_strategy_says_what_it_does_and_costs() -> None:
    for strategy in STRATEGIES.values():
        assert strategy.summary.endswith(".")
        assert strategy.cost
        assert strategy.needs_scores or not strategy.needs_margin
