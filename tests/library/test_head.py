"""The tiled head against the plain log-softmax, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import activedpo.head
from activedpo.head import token_logprobs


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither divides 8 positions × 11 entries: the last tiles are narrow.
    monkeypatch.setattr(activedpo.head, "tile", lambda device: activedpo.head.Tile(3, 4))


def tensors(bias: bool, train_head: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=train_head)
    offset = torch.randn(11, dtype=torch.float64, requires_grad=train_head) if bias else None
    return hidden, weight, offset, torch.randint(0, 11, (8,))


def plain(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None
) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return torch.log_softmax(logits, -1).gather(1, targets[:, None]).squeeze(1)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("train_head", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_are_the_plain_ones(
    bias: bool, train_head: bool, softcap: float | None
) -> None:
    hidden, weight, offset, targets = tensors(bias, train_head)
    trained = [t for t in (hidden, weight, offset) if t is not None and t.requires_grad]
    factors = torch.linspace(-1, 2, 8, dtype=torch.float64)
    ours = token_logprobs(hidden, weight, offset, targets, softcap)
    expected = plain(hidden, weight, offset, targets, softcap)
    assert torch.allclose(ours, expected, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad((ours * factors).sum(), trained),
        torch.autograd.grad((expected * factors).sum(), trained),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize("train_head", [False, True])
def test_gradients_by_finite_differences(train_head: bool) -> None:
    hidden, weight, offset, targets = tensors(True, train_head)
    assert torch.autograd.gradcheck(
        lambda h, w, b: token_logprobs(h, w, b, targets, 3.0), (hidden, weight, offset)
    )


def test_sums_are_float32_where_weights_are_bfloat16() -> None:
    hidden, weight, _, targets = tensors(False, False)
    low = token_logprobs(hidden.bfloat16(), weight.bfloat16(), None, targets, None)
    assert low.dtype == torch.float32
    assert torch.allclose(low.double(), plain(hidden, weight, None, targets, None), atol=0.1)


def test_logits_far_apart_neither_overflow_nor_vanish() -> None:
    hidden, weight, offset, targets = tensors(True, False)
    hidden, weight = hidden.float() * 1e3, weight.float() * 1e3
    assert offset is not None
    ours = token_logprobs(hidden, weight, offset.float(), targets, None)
    expected = plain(hidden.double(), weight.double(), offset, targets, None)
    assert torch.isfinite(ours).all()
    assert torch.allclose(ours.double(), expected, rtol=1e-5)
