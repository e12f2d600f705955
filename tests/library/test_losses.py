"""Losses against values derived by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from activedpo.losses import (
    LOSSES,
    hinge_loss,
    ipo_loss,
    log_ratio_margin,
    sigmoid_loss,
    smoothed,
)

ONE, HALF, ZERO = (torch.tensor([p], dtype=torch.float64) for p in (1.0, 0.5, 0.0))


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_margin_is_the_difference_of_log_ratios() -> None:
    """a: −10 against −12 is +2; b: −7 against −4 is −3; Δ = 2 − (−3) = 5."""
    delta = log_ratio_margin(tensor(-10), tensor(-7), tensor(-12), tensor(-4))
    assert delta.tolist() == [5.0]


def test_sigmoid_by_hand() -> None:
    """βΔ = 0.5 · 2 = 1.

    p = 1: −log σ(1) = log(1 + e⁻¹) = 0.3132617. p = 0: −log σ(−1) = log(1 + e) = 1.3132617.
    p = ½: their mean, 0.8132617.
    """
    delta = tensor(2.0)
    assert sigmoid_loss(delta, ONE, 0.5).item() == pytest.approx(0.3132616875)
    assert sigmoid_loss(delta, ZERO, 0.5).item() == pytest.approx(1.3132616875)
    assert sigmoid_loss(delta, HALF, 0.5).item() == pytest.approx(0.8132616875)


def test_ipo_by_hand() -> None:
    """β = 0.25, so the target 1 / 2β is 2; Δ = 0.5.

    p = 1: (0.5 − 2)² = 2.25. p = 0: (−0.5 − 2)² = 6.25. p = 0.75: 0.75 · 2.25 + 0.25 · 6.25 = 3.25.
    """
    delta = tensor(0.5)
    assert ipo_loss(delta, ONE, 0.25).item() == pytest.approx(2.25)
    assert ipo_loss(delta, ZERO, 0.25).item() == pytest.approx(6.25)
    assert ipo_loss(delta, tensor(0.75), 0.25).item() == pytest.approx(3.25)


def test_hinge_by_hand() -> None:
    """βΔ = 0.5 · 1 = 0.5. p = 1: 1 − 0.5 = 0.5. p = 0: 1 + 0.5 = 1.5. βΔ = 2, p = 1: 0."""
    assert hinge_loss(tensor(1.0), ONE, 0.5).item() == pytest.approx(0.5)
    assert hinge_loss(tensor(1.0), ZERO, 0.5).item() == pytest.approx(1.5)
    assert hinge_loss(tensor(4.0), ONE, 0.5).item() == 0.0


def test_at_the_start_the_sigmoid_loss_is_log_two() -> None:
    assert sigmoid_loss(tensor(0.0), ONE, 0.1).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_coin_flip_has_no_gradient_at_margin_zero(
    loss: Callable[[Tensor, Tensor, float], Tensor],
) -> None:
    delta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(delta, HALF, 0.3).sum(), delta)
    assert grad.item() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradient_pulls_towards_the_better_one(
    loss: Callable[[Tensor, Tensor, float], Tensor],
) -> None:
    delta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(delta, tensor(1.0, 0.0), 0.3).sum(), delta)
    assert grad[0] < 0 < grad[1]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_swapping_the_sides_changes_nothing(
    loss: Callable[[Tensor, Tensor, float], Tensor],
) -> None:
    delta, p = tensor(-2.0, 0.3, 4.0), tensor(0.9, 0.2, 0.5)
    assert torch.allclose(loss(delta, p, 0.2), loss(-delta, 1 - p, 0.2))


def test_the_soft_labels_loss_is_least_where_the_margin_says_p() -> None:
    """−p log σ(z) − (1 − p) log σ(−z) has derivative σ(z) − p: zero at z = logit p."""
    p = tensor(0.8)
    delta = tensor(math.log(0.8 / 0.2) / 0.5).requires_grad_()
    (grad,) = torch.autograd.grad(sigmoid_loss(delta, p, 0.5).sum(), delta)
    assert grad.item() == pytest.approx(0.0, abs=1e-12)


def test_large_margins_stay_finite() -> None:
    loss = sigmoid_loss(tensor(-1e6, 1e6), tensor(1.0, 1.0), 1.0)
    assert loss.tolist() == pytest.approx([1e6, 0.0])


def test_smoothing_by_hand() -> None:
    """ε = 0.1: 1 → 0.9, 0 → 0.1, ½ stays."""
    assert smoothed(tensor(1.0, 0.0, 0.5), 0.1).tolist() == pytest.approx([0.9, 0.1, 0.5])
