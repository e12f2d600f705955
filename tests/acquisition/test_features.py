"""Features of pairs, against the plain computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import activedpo as ad
from activedpo.encoding import encode_pair
from activedpo.features import pair_features, projected
from activedpo.packing import plain_logprobs
from activedpo.testing import tiny_model
from activedpo.trainable import trainable_copy, trained_parameters

PAIRS = [
    ad.Pair("one", " two three", " four"),
    ad.Pair("one", " four", " two three"),
    ad.Pair("five", " six", " seven eight nine"),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> ad.Policy:
    return ad.load(tiny_model(tmp_path_factory.mktemp("m") / "tiny", chat=False))


def test_hidden_features_are_the_mean_states_that_scoring_gives(policy: ad.Policy) -> None:
    scores = ad.score_pairs(policy, PAIRS, hidden=True)
    found = pair_features(policy, PAIRS)
    np.testing.assert_allclose(found, scores.hidden, atol=1e-5)
    np.testing.assert_array_equal(pair_features(policy, PAIRS, hidden=scores.hidden), scores.hidden)


@pytest.mark.parametrize("kind", ["hidden", "gradient"])
def test_swapping_the_completions_swaps_their_features(kind: str, policy: ad.Policy) -> None:
    found = pair_features(policy, PAIRS, kind)
    assert found.shape[:2] == (3, 2)
    np.testing.assert_allclose(found[0], found[1, ::-1], rtol=1e-3, atol=1e-3)


def test_sketched_gradients_keep_the_products_of_the_real_ones(policy: ad.Policy) -> None:
    """A count sketch of width w errs by about |g||h| / √w: at 8,192, 1.1 %."""
    found = pair_features(policy, PAIRS, "gradient", width=8_192).reshape(6, -1)
    exact = _gradients(policy)
    scale = np.sqrt(np.outer((exact**2).sum(1), (exact**2).sum(1)))
    assert np.abs((found @ found.T - exact @ exact.T) / scale).max() < 0.06


def _gradients(policy: ad.Policy) -> np.ndarray:
    copy = trainable_copy(policy, lora=4, seed=0)
    rows = []
    for pair in PAIRS:
        encoded = encode_pair(policy, pair)
        for completion in (encoded.a, encoded.b):
            copy.model.zero_grad()
            plain_logprobs(copy, encoded.prompt, completion).sum().backward()  # type: ignore[no-untyped-call]
            grads = [p.grad for p in trained_parameters(copy).values()]
            rows.append(torch.cat([g.flatten() for g in grads if g is not None]).numpy())
    return np.stack(rows)


def test_the_policy_is_not_touched_by_taking_gradients(policy: ad.Policy) -> None:
    before = ad.score_pairs(policy, PAIRS).logp_a
    pair_features(policy, PAIRS, "gradient")
    assert not any(p.requires_grad for p in policy.model.parameters())
    np.testing.assert_array_equal(ad.score_pairs(policy, PAIRS).logp_a, before)


def test_a_projection_keeps_inner_products_on_average() -> None:
    x = np.random.default_rng(0).standard_normal((40, 2_000))
    small = projected(x, width=512)
    assert small.shape == (40, 512)
    gaps = (small @ small.T - x @ x.T) / 2_000
    assert np.abs(gaps).max() < 0.3
    assert abs(gaps.mean()) < 0.02
    np.testing.assert_array_equal(projected(x[:, :7]), x[:, :7].astype(np.float32))


def test_an_unknown_kind_is_refused(policy: ad.Policy) -> None:
    with pytest.raises(ValueError, match="kind must be one of hidden, gradient"):
        pair_features(policy, PAIRS, "smell")
