"""Automatic oracles, and labels that are wrong as often as they should be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from activedpo.simulation.config import Noise, Spec
from activedpo.simulation.judges import Labeller, make, verdict


def longer(_: object, a: str, b: str) -> float | None:
    return None if len(a) == len(b) else float(len(a) > len(b))


def labels(noise: Noise, n: int = 2_000, seed: int = 0) -> list[float | None]:
    label = Labeller(longer, noise, seed)
    return [label(f"prompt {i}", "aaaa", "bb") for i in range(n)]


def test_without_noise_the_oracle_is_believed() -> None:
    assert set(labels(Noise())) == {1.0}
    assert Labeller(longer, Noise(), 0)("p", "same", "size") is None


def test_a_share_is_flipped() -> None:
    wrong = labels(Noise(flips=0.2)).count(0.0) / 2_000
    assert abs(wrong - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 2_000)


def test_noise_is_the_same_for_every_strategy_and_whichever_side_a_text_is_on() -> None:
    noise = Noise(flips=0.3, temperature=5, position_bias=1)
    one, two = Labeller(longer, noise, 4), Labeller(longer, noise, 4)
    for i in range(100):
        two("another pair was asked before", "aaa", "b")
        straight = one(f"{i}", "aaaa", "bb")
        assert straight == two(f"{i}", "aaaa", "bb")
        assert straight == 1 - two(f"{i}", "bb", "aaaa")  # type: ignore[operator]
    assert labels(noise, seed=1) != labels(noise, seed=2)


def test_bradley_terry_draws_at_the_reward_models_own_rate() -> None:
    """p = 0.8 and temperature 1: four of five labels say a."""
    label = Labeller(lambda *_: 0.8, Noise(temperature=1.0), 0)
    share = sum(label(f"{i}", "x", "y") or 0 for i in range(2_000)) / 2_000
    assert abs(share - 0.8) < 5 * math.sqrt(0.8 * 0.2 / 2_000)


def test_position_bias_goes_by_who_is_shown_first() -> None:
    """A bias far above the oracle's logit decides alone, and sides are drawn evenly."""
    label = Labeller(lambda *_: 0.6, Noise(position_bias=50), 0)
    share = sum(label(f"{i}", "x", "y") or 0 for i in range(2_000)) / 2_000
    assert 0.44 < share < 0.56


def test_length_bias_favours_the_longer() -> None:
    label = Labeller(lambda *_: 0.4, Noise(length_bias=3.0), 0)
    assert label("p", "a much longer answer", "short") == 1.0


def test_the_hidden_reward_is_antisymmetric_and_its_own() -> None:
    judge, other = (make("oracle", Spec(kind="reward", seed=s)) for s in (1, 2))  # type: ignore[call-arg]
    p, q = (
        judge("x", "one good day", "two bad nights"),
        judge("x", "two bad nights", "one good day"),
    )
    assert p is not None
    assert q == pytest.approx(1 - p)
    assert p != other("x", "one good day", "two bad nights")
    assert judge("x", "same", "same") is None


def test_a_regex_counts() -> None:
    judge = make("oracle", Spec(kind="regex", pattern=r"\bgood\b", prefer="fewer"))  # type: ignore[call-arg]
    assert judge("x", "good good", "good") == 0.0
    assert judge("x", "goods", "well") is None


def test_the_classifier_learns_its_file_and_tells_its_accuracy(files: Path) -> None:
    for features in ("words", "characters"):
        spec = Spec(kind="classifier", fit=str(files / "labelled.jsonl"), features=features)  # type: ignore[call-arg]
        judge = make("oracle", spec)
        p = judge("x", "a good one", "a bad one")
        assert p is not None
        assert p > 0.5
        assert judge.accuracy == 1.0  # type: ignore[attr-defined]


def test_a_judge_that_sees_no_difference_makes_a_tie() -> None:
    assert verdict(longer, "p", "aaa", "b") == (1.0, False)
    assert verdict(longer, "p", "b", "aaa") == (0.0, False)
    assert verdict(longer, "p", "aa", "bb") == (0.5, True)
    assert verdict(longer, "p", "aa", "aa") == (0.5, False)
