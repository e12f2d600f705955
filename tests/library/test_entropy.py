"""Entropy of answers by Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import activedpo as ad
from activedpo.loading import Policy
from activedpo.types import Completion

PROMPTS = ["ab", "a longer prompt", "c"]


def uniform(policy: Policy) -> Policy:
    """Every next token is as likely as any other."""
    with torch.no_grad():
        policy.base.lm_head.weight.zero_()
    return policy


def test_a_uniform_policy_has_the_log_of_its_vocabulary_a_token(policy: Policy) -> None:
    entropy = ad.prompt_entropy(uniform(policy), PROMPTS, n=4, per_token=True)
    assert entropy == pytest.approx(np.full(3, math.log(259)), rel=1e-6)


def test_the_sum_counts_every_token(policy: Policy) -> None:
    # With 5 tokens a sample at most, cut (259 tokens: an early end is unlikely for this seed).
    entropy = ad.prompt_entropy(uniform(policy), PROMPTS, n=4, max_new_tokens=5)
    assert entropy == pytest.approx(np.full(3, 5 * math.log(259)), rel=1e-6)


def test_a_certain_policy_has_none(policy: Policy) -> None:
    with torch.no_grad():
        policy.base.lm_head.weight.mul_(1e4)
    entropy = ad.prompt_entropy(policy, PROMPTS, n=4, max_new_tokens=8)
    assert entropy == pytest.approx(np.zeros(3), abs=1e-3)


def test_it_is_the_mean_surprise_of_its_samples(policy: Policy) -> None:
    samples = ad.generate(policy, PROMPTS, n=5, max_new_tokens=12, seed=2)
    expected = [-np.mean([c.logp for c in completions]) for completions in samples]
    got = ad.prompt_entropy(policy, PROMPTS, n=5, max_new_tokens=12, seed=2)
    assert got.shape == (3,)
    assert got == pytest.approx(expected)


def test_without_log_probs_from_sampling_it_scores_the_samples(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ad.prompt_entropy(policy, PROMPTS, n=3, max_new_tokens=30)
    generate = ad.generate

    def bare(*args: object, **given: object) -> list[list[Completion]]:
        made = generate(*args, **given)  # type: ignore[arg-type]
        return [[Completion(c.text, c.tokens, c.finished) for c in of] for of in made]

    monkeypatch.setattr("activedpo.entropy.generate", bare)
    got = ad.prompt_entropy(policy, PROMPTS, n=3, max_new_tokens=30)
    assert got == pytest.approx(expected, rel=1e-5)
