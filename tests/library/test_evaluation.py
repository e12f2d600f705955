"""Figures about a policy, against values derived by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import activedpo as ad
from activedpo.evaluation import (
    both_orders,
    evaluate,
    kl_per_token,
    reward_accuracy,
    text_statistics,
    wilson,
    win_rate,
)
from activedpo.loading import Policy
from activedpo.oracles import ORACLES, length, sentiment
from activedpo.types import Prompt, Scores
from tests.library.conftest import random_preferences

LONGER = length()


def test_wilson_by_hand() -> None:
    """8 of 10 with z = 1.96: middle (0.8 + 0.19208) / 1.38416 = 0.71674, half 0.22658."""
    share = wilson(8, 10, z=1.96)
    assert (share.rate, share.n) == (0.8, 10)
    assert share.low == pytest.approx(0.4902, abs=1e-4)
    assert share.high == pytest.approx(0.9433, abs=1e-4)


def test_wilson_stays_within_zero_and_one() -> None:
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0
    assert math.isnan(wilson(0, 0).rate)


def test_a_tie_is_half_a_win() -> None:
    """Two wins, one tie, one loss: (2 + ½) / 4."""
    found = win_rate(LONGER, ["x"] * 4, ["aa", "aaa", "a", "a"], ["a", "a", "a", "aa"])
    assert (found.wins, found.ties, found.losses, found.abstained) == (2, 1, 1, 0)
    assert found.rate == 0.625
    assert found.low < 0.625 < found.high


def test_a_judge_that_goes_by_the_place_wins_nothing() -> None:
    def first(prompt: Prompt, a: str, b: str, /) -> float:
        return 1.0

    found = win_rate(first, ["x"] * 3, ["a"] * 3, ["b"] * 3)
    assert (found.wins, found.ties, found.losses) == (0, 3, 0)


def test_what_the_judge_abstains_from_is_left_out_and_counted() -> None:
    found = win_rate(LONGER, ["x", "x"], ["aa", "ab"], ["a", "cd"])
    assert (found.n, found.abstained, found.rate) == (1, 1, 1.0)


def test_soft_verdicts_are_averaged_over_both_orders() -> None:
    def unsure(prompt: Prompt, a: str, b: str, /) -> float:
        return 0.9 if a == "good" else 0.4

    assert both_orders(unsure, "x", "good", "bad") == pytest.approx((0.9 + 0.6) / 2)


def test_lists_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prompts \(1\), ours \(2\)"):
        win_rate(LONGER, ["x"], ["a", "b"], ["a"])


def scores(margin: list[float], **more: list[float]) -> Scores:
    zeros = np.zeros(len(margin))
    given = {name: np.array(values) for name, values in more.items()}
    ones = np.ones(len(margin), dtype=np.int64)
    base = {
        "logp_a": zeros,
        "logp_b": zeros,
        "ref_logp_a": zeros,
        "ref_logp_b": zeros,
        "tokens_a": ones,
        "tokens_b": ones,
    }
    return Scores(**(base | given), margin=np.array(margin), equal=zeros.astype(bool))  # type: ignore[arg-type]


def test_reward_accuracy_by_hand() -> None:
    """Right, wrong, a margin of 0 (half), a tie (left out): 1.5 of 3."""
    found = reward_accuracy(scores([2.0, 1.0, 0.0, 5.0]), [1.0, 0.2, 1.0, 0.5])
    assert (found.rate, found.n) == (0.5, 3)


def test_reward_accuracy_wants_a_label_for_each_score() -> None:
    with pytest.raises(ValueError, match="shape"):
        reward_accuracy(scores([1.0]), [1.0, 0.0])


def test_kl_by_hand() -> None:
    """Gains 2 and 1 over 3 + 2 tokens: 0.6 nats a token."""
    s = scores(
        [0.0],
        logp_a=[-4],
        ref_logp_a=[-6],
        logp_b=[-1],
        ref_logp_b=[-2],
        tokens_a=[3],
        tokens_b=[2],
    )
    assert kl_per_token(s) == pytest.approx(0.6)


def test_text_statistics_by_hand() -> None:
    """Words a b a b a b and c: distinct-1 is 3 / 7, distinct-2 is 2 / 5; of the three 4-grams
    abab, baba, abab the last repeats: 1 / 3, and 0 for the other text.
    """
    found = text_statistics(["a b a b a b", "c"])
    assert found.words == 3.5
    assert found.characters == 6.0
    assert found.distinct_1 == pytest.approx(3 / 7)
    assert found.distinct_2 == pytest.approx(2 / 5)
    assert found.repetition == pytest.approx(1 / 6)
    assert not found.collapsed


def test_a_policy_that_repeats_itself_is_called_collapsed() -> None:
    assert text_statistics(["so good " * 30] * 4).collapsed
    assert not text_statistics([]).collapsed


def test_oracles_decide_or_abstain() -> None:
    kind = sentiment()
    assert kind("x", "I love this wonderful film", "I hate this awful film") == 1.0
    assert kind("x", "I hate this awful film", "I love this wonderful film") == 0.0
    assert kind("x", "a table", "a chair") is None
    assert LONGER("x", "aa", "a") == 1.0
    assert LONGER("x", "a", "b") is None
    assert length("shorter")("x", "aa", "a") == 0.0
    with pytest.raises(ValueError, match="longer"):
        length("bigger")
    assert {"sentiment", "length"} <= set(ORACLES)


def test_an_untrained_policy_is_level_with_itself(policy: Policy) -> None:
    found = evaluate(policy, ["ab", "cd"], judge=LONGER, max_new_tokens=8)
    assert found.kl_per_token == pytest.approx(0.0, abs=1e-6)
    assert found.win_rate is not None
    assert found.win_rate.rate == 0.5
    assert found.text == found.reference_text


def test_a_trained_policy_is_compared_with_its_reference(
    policy: Policy, make_policy: Callable[..., Policy]
) -> None:
    trained = ad.train_dpo(policy, random_preferences(8), lora=8, learning_rate=1e-2).policy
    seen: list[tuple[int, int]] = []
    prompts = ["ab", "cd", "efg"]
    found = evaluate(
        trained,
        prompts,
        max_new_tokens=20,
        temperature=1.0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found.win_rate is None
    assert found.kl_per_token > 0
    assert [c.text for c in found.ours] != [c.text for c in found.theirs]
    plain = ad.generate(policy, prompts, max_new_tokens=20)
    assert [c.tokens for c in found.theirs] == [c[0].tokens for c in plain]
    assert seen[-1] == (9, 9)
    again = evaluate(trained, prompts, max_new_tokens=20, temperature=1.0, theirs=found.theirs)
    assert again.reference_text == found.reference_text


def test_no_prompts_give_no_figures(policy: Policy) -> None:
    assert math.isnan(evaluate(policy, []).kl_per_token)
