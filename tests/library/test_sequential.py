"""The sequential test: it may be looked at after every answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activedpo.sequential import confidence_sequence, evidence, log_evidence, refuted

ALPHA = 0.05
ANSWERS = 400
PEOPLE = 2_000

scores = st.dictionaries(
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0]), st.integers(0, 60), max_size=6
)
means = st.floats(0.01, 0.99)


def stopped(drawn: np.ndarray, alpha: float) -> float:
    """The share of rows that refute one half at any of the looks after each answer."""
    wins, losses = (drawn == 1).cumsum(axis=1), (drawn == 0).cumsum(axis=1)
    ties = (drawn == 0.5).cumsum(axis=1)
    asked = np.unique(np.stack([wins, ties, losses]).reshape(3, -1), axis=1).T
    refuting = {
        tuple(row)
        for row in asked.tolist()
        if refuted({1.0: row[0], 0.5: row[1], 0.0: row[2]}, alpha)
    }
    looks = np.stack([wins, ties, losses], axis=-1).tolist()
    return float(np.mean([any(tuple(look) in refuting for look in person) for person in looks]))


@pytest.mark.parametrize(("ties", "seed"), [(0.0, 1), (0.4, 2)])
def test_who_looks_after_every_answer_is_seldom_fooled_by_equals(ties: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = [(1 - ties) / 2, ties, (1 - ties) / 2]
    drawn = rng.choice([0.0, 0.5, 1.0], size=(PEOPLE // 4, ANSWERS // 2), p=chances)
    assert stopped(drawn, ALPHA) < ALPHA


def test_an_interval_of_fixed_size_is_fooled_where_this_one_is_not() -> None:
    from activedpo.evaluation import wilson

    rng = np.random.default_rng(3)
    wins = rng.integers(0, 2, size=(PEOPLE, ANSWERS)).cumsum(axis=1)
    n = np.arange(1, ANSWERS + 1)
    outside = np.zeros((ANSWERS + 1, ANSWERS + 1), dtype=bool)
    ours = np.zeros_like(outside)
    for count in n.tolist():
        for won in range(count + 1):
            rate = wilson(won, count)
            outside[count, won] = not rate.low <= 0.5 <= rate.high
    logs = np.array([math.log(2) * c for c in range(ANSWERS + 1)])
    for count in n.tolist():  # the closed form of the same mixture, which is quick enough here
        for won in range(count + 1):
            beta = math.lgamma(won + 1) + math.lgamma(count - won + 1) - math.lgamma(count + 2)
            ours[count, won] = logs[count] + beta >= -math.log(ALPHA)
    fooled = outside[n, wins].any(axis=1).mean()
    assert fooled > 3 * ALPHA
    assert ours[n, wins].any(axis=1).mean() < ALPHA


@given(scores, means, means)
def test_no_bet_gains_on_average_where_the_mean_is_what_it_says(
    before: dict[float, int], mean: float, spread: float
) -> None:
    """E[K_{t+1} | past] = K_t for scores of that mean: here two values around it."""
    low, high = mean * spread, mean + (1 - mean) * spread
    chance = (mean - low) / (high - low)
    now = float(log_evidence(before, mean))
    grown = [
        math.exp(float(log_evidence({**before, x: before.get(x, 0) + 1}, mean)) - now)
        for x in (low, high)
    ]
    assert (1 - chance) * grown[0] + chance * grown[1] == pytest.approx(1, rel=1e-6)


@given(st.integers(0, 200), st.integers(0, 200))
def test_without_ties_it_is_the_mixture_of_robbins(wins: int, losses: int) -> None:
    n = wins + losses
    beta = math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(n + 2)
    assert float(log_evidence({1.0: wins, 0.0: losses})) == pytest.approx(
        n * math.log(2) + beta, abs=0.05 + 0.02 * n**0.5
    )


@given(scores, st.integers(0, 50))
def test_ties_say_nothing_about_one_half(counted: dict[float, int], ties: int) -> None:
    more = {**counted, 0.5: counted.get(0.5, 0) + ties}
    assert evidence(more) == pytest.approx(evidence(counted))


@given(scores)
def test_the_interval_and_the_verdict_are_of_one_mind(counted: dict[float, int]) -> None:
    low, high = confidence_sequence(counted, ALPHA)
    n = sum(counted.values())
    assert 0 <= low < high <= 1
    if n:
        assert low <= sum(x * c for x, c in counted.items()) / n <= high
    if low > 0.5 or high < 0.5:
        assert refuted(counted, ALPHA)


def test_it_holds_the_true_mean_at_every_look() -> None:
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(60):
        drawn = rng.choice([0.0, 0.5, 1.0], size=120, p=[0.2, 0.2, 0.6])
        for n in range(5, 121, 5):
            values, counts = np.unique(drawn[:n], return_counts=True)
            low, high = confidence_sequence(dict(zip(values, counts, strict=True)), ALPHA)
            if not low <= 0.7 <= high:
                missed += 1
                break
    assert missed / 60 <= ALPHA


def test_a_clear_winner_is_found_soon() -> None:
    assert not refuted({1.0: 6}, ALPHA)
    assert refuted({1.0: 8}, ALPHA)
    assert refuted({0.0: 8}, ALPHA)
    assert refuted({1.0: 45, 0.0: 15}, ALPHA)
    assert not refuted({1.0: 32, 0.0: 28}, ALPHA)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert evidence({}) == 1.0
    assert confidence_sequence({}, ALPHA) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("counted", "mean"), [({1.5: 1}, 0.5), ({-0.1: 1}, 0.5), ({1.0: 1}, 0.0), ({1.0: 1}, 1.0)]
)
def test_what_is_no_score_or_no_mean_is_refused(counted: dict[float, int], mean: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        log_evidence(counted, mean)


def test_what_is_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        refuted({}, 1.0)
