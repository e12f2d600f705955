"""What combines with any strategy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from activedpo.acquisition.combine import (
    audit,
    confidence_gate,
    jaccard,
    keep_distinct,
    keep_fluent,
    surprise,
)
from activedpo.types import Pair
from tests.acquisition.conftest import scores_of


def test_pruning_drops_both_tails_of_perplexity() -> None:
    """Five pairs of ten tokens with −log π of 1 (repeats itself), 5, 6, 7 and 90 (noise)."""
    logp = -np.array([1.0, 5.0, 6.0, 7.0, 90.0]) / 2
    tokens = np.full(5, 5)
    scores = replace(
        scores_of(np.zeros(5)), logp_a=logp, logp_b=logp, tokens_a=tokens, tokens_b=tokens
    )
    found = surprise(scores)
    assert found.tolist() == pytest.approx([0.1, 0.5, 0.6, 0.7, 9.0])
    assert keep_fluent(found, 0.25, 0.75).tolist() == [False, True, True, True, False]
    assert keep_fluent(found, 0, 1).all()
    unmeasured = np.append(found, np.nan)
    assert keep_fluent(unmeasured, 0.25, 0.75).tolist()[-2:] == [False, True]
    with pytest.raises(ValueError, match="quantiles"):
        keep_fluent(found, 0.8, 0.2)


def test_near_duplicates_leave_the_pool() -> None:
    pairs = [
        Pair("q", "a fine film", "a dull film"),
        Pair("q", "Same  words here", "same words here"),
        Pair("other", "a dull film", "a fine film"),
        Pair("q", "one two three four five", "one two three four five six"),
    ]
    assert keep_distinct(pairs, 0.7).tolist() == [True, False, False, False]
    assert keep_distinct(pairs, 0.8).tolist() == [True, False, False, True]


def test_jaccard_by_hand() -> None:
    """Trigrams: {123, 234, 345} and {123, 234, 345, 456} share three of four."""
    assert jaccard("1 2 3 4 5", "1 2 3 4 5 6") == 0.75
    assert jaccard("a b", "b c") == pytest.approx(1 / 3)
    assert jaccard("", "") == 1.0


def test_the_audit_is_rounded_up_and_drawn_from_the_whole_pool() -> None:
    rng = np.random.default_rng(0)
    assert len(audit(100, 10, 0.11, rng)) == 2
    assert len(audit(100, 10, 0.0, rng)) == 0
    seen = {int(i) for _ in range(300) for i in audit(20, 4, 0.5, rng)}
    assert seen == set(range(20))


def test_the_gate_labels_only_what_is_sure() -> None:
    """σ(3) = .953, σ(1) = .731; equal completions have no margin."""
    margins = np.array([3.0, -3.0, 1.0, 0.0])
    indices, p = confidence_gate(margins, 0.95)
    assert indices.tolist() == [0, 1]
    assert p.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="threshold"):
        confidence_gate(margins, 0.5)
