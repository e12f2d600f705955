"""One made-up pool a strategy, where the right answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from activedpo.acquisition import Past, acquire
from tests.acquisition.conftest import scores_of


def features(*differences: list[float]) -> np.ndarray:
    """(n, 2, d): completion a is the difference, completion b the origin."""
    a = np.array(differences, dtype=np.float64)
    return np.stack([a, np.zeros_like(a)], axis=1)


def past(*labels: tuple[list[float], float]) -> Past:
    return Past(features(*(x for x, _ in labels)), np.array([p for _, p in labels]))


def test_entropy_takes_the_prompt_the_policy_is_least_sure_about() -> None:
    """H of a prompt with two equally likely answers is log 2, of one with four log 4: four first.

    A public re-implementation ranks by mean log π, which is −H: it would take the surest prompt.
    """
    sure, two, four = 0.01, np.log(2), np.log(4)
    entropy = np.array([two, sure, four])
    assert acquire("entropy", None, 3, entropy=entropy).tolist() == [2, 0, 1]


def test_certainty_takes_the_largest_gap_whatever_its_sign() -> None:
    scores = scores_of(np.array([0.1, -2.0, 1.5, 0.0]))
    assert acquire("certainty", scores, 4).tolist() == [1, 2, 0, 3]


def test_closest_call_takes_the_smallest_gap() -> None:
    scores = scores_of(np.array([0.1, -2.0, 1.5, 0.0]))
    assert acquire("closest_call", scores, 4).tolist() == [3, 0, 2, 1]


def test_entropy_certainty_looks_for_gaps_among_uncertain_prompts_only() -> None:
    """Pair 0 has by far the largest gap, but its prompt is not among the two shortlisted."""
    scores = scores_of(np.array([9.0, 0.1, 0.2, 5.0]))
    entropy = np.array([0.1, 3.0, 2.0, 0.2])
    picked = acquire("entropy_certainty", scores, 1, entropy=entropy, shortlist=2)
    assert picked.tolist() == [2]


def test_entropy_certainty_of_a_small_pool_lets_half_of_it_through() -> None:
    """A shortlist of four times the batch would be the whole pool, and entropy would not count."""
    scores = scores_of(np.array([9.0, 0.1, 0.2, 5.0]))
    entropy = np.array([0.1, 3.0, 2.0, 0.2])
    picked = acquire("entropy_certainty", scores, 1, entropy=entropy, shortlist=4)
    assert picked.tolist() == [2]


def test_fisher_asks_for_the_direction_that_no_label_has_shown() -> None:
    """Both pairs are close calls; x was labelled four times, y never."""
    known = past(([1, 0], 1.0), ([1, 0], 0.0), ([1, 0], 1.0), ([1, 0], 0.0))
    x_again, y = [1.0, 0.0], [0.0, 1.0]
    scores = scores_of(np.array([0.1, 0.1]))
    assert acquire("fisher", scores, 1, features=features(x_again, y), past=known).tolist() == [1]


def test_fisher_asks_for_the_close_call_where_directions_are_equal() -> None:
    scores = scores_of(np.array([4.0, 0.1]))
    assert acquire("fisher", scores, 1, features=features([1, 0], [0, 1])).tolist() == [1]


def test_fisher_does_not_take_the_same_direction_twice() -> None:
    """After x, a second x is worth less than y, although alone it is worth more.

    p(1 − p) = ¼ at margin 0. By itself 1.1² / 4 > 1 / 4; after one x of length 1.1 (scale aside)
    F grew along x alone.
    """
    scores = scores_of(np.array([1e-9, 1e-9, 1e-9]))
    pool = features([3.3, 0], [3.3, 0], [0, 3.0])
    picked = acquire("fisher", scores, 2, features=pool)
    assert 2 in picked.tolist()


def test_trace_prefers_what_the_pool_is_full_of() -> None:
    """Nine pairs lie along x, one along y and a little longer: D-optimal design takes y, the
    expected loss on the pool's own pairs falls most by x.
    """
    pool = features(*([[1.0, 0.0]] * 9), [0.0, 1.2])
    scores = scores_of(np.full(10, 1e-9))
    assert acquire("trace", scores, 1, features=pool)[0] != 9
    assert acquire("fisher", scores, 1, features=pool).tolist() == [9]


def test_gradient_takes_the_longest_gradient_and_then_another_direction() -> None:
    pool = features([3.0, 0.0], [2.9, 0.0], [0.0, 2.0], [0.1, 0.1])
    assert acquire("gradient", None, 2, features=pool).tolist() == [0, 2]


def test_gradient_counts_what_was_bought() -> None:
    pool = features([3.0, 0.0], [0.0, 2.5])
    known = past(*[([3.0, 0.0], 1.0)] * 5)
    assert acquire("gradient", None, 1, features=pool, past=known).tolist() == [1]


def test_disputed_takes_the_pair_where_the_labels_speak_against_the_policy() -> None:
    """Labels say x is good. Of three pairs the policy is as sure of the first two: for x, and
    against it; of the third, against x too, it is hardly sure.
    """
    known = past(*[([1.0, 0.0], 1.0)] * 5)
    scores = scores_of(np.array([2.0, -2.0, -0.1]))
    pool = features([1, 0], [1, 0], [1, 0])
    picked = acquire("disputed", scores, 3, features=pool, past=known)
    assert picked.tolist() == [1, 2, 0]


def test_expected_gradient_takes_the_likely_error_and_of_two_the_longer_difference() -> None:
    """As above; and of two pairs that nothing is known of the one whose completions differ more."""
    known = past(*[([1.0, 0.0], 1.0)] * 5)
    pool = features([1, 0], [1, 0])
    contradicted = scores_of(np.array([2.0, -2.0]))
    assert acquire("expected_gradient", contradicted, 1, features=pool, past=known).tolist() == [1]
    unknown = scores_of(np.array([1e-9, 1e-9]))
    picked = acquire("expected_gradient", unknown, 1, features=features([0, 1], [0, 2]), past=known)
    assert picked.tolist() == [1]


@pytest.mark.parametrize("name", ["ensemble", "balpm"])
def test_what_the_labels_decided_is_not_asked_again(name: str) -> None:
    """Forty labels say that x is good; nothing is known of y. Both prompts are equally far off."""
    known = past(*[([2.0, 0.0], 1.0)] * 40)
    pool = features([2.0, 0.0], [0.0, 2.0])
    pool[:, 1] -= pool[:, 0] / 2  # every pair's middle is moved to the same distance of the past's
    pool[:, 0] -= pool[:, 0] / 2
    pool[:, :] += np.array([50.0, 50.0])
    first = [int(acquire(name, None, 1, s, features=pool, past=known)[0]) for s in range(10)]
    assert first.count(1) >= 9


def test_balpm_spreads_over_prompts() -> None:
    """Three pairs as uncertain as each other: two of one prompt, one of another far away."""
    known = past(([0.0, 0.0, 1.0], 1.0), ([0.0, 0.0, -1.0], 0.0))
    pool = features([1, 0, 0], [1, 0, 0], [1, 0, 0])
    pool[2] += np.array([0.0, 30.0, 0.0])
    assert set(acquire("balpm", None, 2, features=pool, past=known).tolist()) & {2} == {2}


def test_diverse_takes_one_of_each_cluster() -> None:
    pool = np.repeat(features([0, 0], [10, 0], [0, 10]), 4, axis=0)
    pool = pool + np.random.default_rng(0).normal(0, 0.01, pool.shape)
    clusters = acquire("diverse", None, 3, features=pool) // 4
    assert sorted(clusters.tolist()) == [0, 1, 2]


def test_diverse_certainty_leaves_the_repeat_of_the_surest_pair() -> None:
    """Pairs 0 and 1 are the surest and the same; pair 2 is sure and another; pair 3 is unsure."""
    scores = scores_of(np.array([5.0, 4.9, 4.0, 0.1]))
    pool = features([1, 0], [1, 0], [0, 1], [9, 9])
    picked = acquire("diverse_certainty", scores, 2, features=pool, shortlist=1.5)
    assert picked.tolist() == [0, 2]


def test_thompson_duels_far_apart_answers_once_the_reward_is_known() -> None:
    """Four hundred labels leave no doubt that x is good: the largest gap in x is taken."""
    known = past(*[([1.0, 0.0], 1.0)] * 200, *[([-1.0, 0.0], 0.0)] * 200)
    pool = features([0.2, 0.0], [3.0, 0.0], [-0.5, 0.0])
    first = [int(acquire("thompson", None, 1, s, features=pool, past=known)[0]) for s in range(20)]
    assert first.count(1) >= 18


def test_delta_ucb_is_an_optimist() -> None:
    """Equal in what is known (x); pair 1 also differs in y, of which nothing is known."""
    known = past(*[([1.0, 0.0], 1.0)] * 50)
    pool = features([1.0, 0.0], [1.0, 1.0])
    assert acquire("delta_ucb", None, 1, features=pool, past=known).tolist() == [1]


@pytest.mark.parametrize("name", ["thompson", "delta_ucb"])
def test_of_several_candidates_each_prompt_first_gives_its_best_pair(name: str) -> None:
    known = past(([1.0, 0.0], 1.0), ([0.5, 0.1], 1.0))
    rng = np.random.default_rng(3)
    pool = rng.standard_normal((9, 2, 2))
    prompts = np.repeat([0, 1, 2], 3)
    picked = acquire(name, None, 3, features=pool, past=known, prompts=prompts)
    assert sorted(prompts[picked].tolist()) == [0, 1, 2]


def test_random_takes_each_pair_as_often() -> None:
    """Of ten pairs three a time, 2,000 times: 600 each, within five standard deviations (20.5)."""
    counts = np.zeros(10)
    for seed in range(2_000):
        counts[acquire("random", None, 3, seed, size=10)] += 1
    assert np.abs(counts - 600).max() < 5 * 20.5
