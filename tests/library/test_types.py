"""Value types refuse what makes no sense."""

from __future__ import annotations

import pytest

from activedpo import Pair, Preference

PAIR = Pair("x", "a", "b")


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_is_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        Preference(PAIR, p=p)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_is_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Preference(PAIR, weight=weight)


def test_two_equal_completions_are_flagged() -> None:
    assert Pair("x", "same", "same").equal
    assert not PAIR.equal


def test_token_ids_become_tuples() -> None:
    pair = Pair("x", "a", "b", tokens_a=[1, 2])  # type: ignore[arg-type]
    assert pair.tokens_a == (1, 2)
