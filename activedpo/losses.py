"""Preference losses: pure functions of log-probabilities, the equation on the line that is it.

All take and return tensors of shape (n,), one entry a pair, in nats. p is the probability that
completion a is the better one; p = 1 is a plain label.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def log_ratio_margin(
    logp_a: Tensor, logp_b: Tensor, ref_logp_a: Tensor, ref_logp_b: Tensor
) -> Tensor:
    """Δ = [log π_θ(a) − log π_0(a)] − [log π_θ(b) − log π_0(b)]; β Δ is the margin of rewards."""
    return (logp_a - ref_logp_a) - (logp_b - ref_logp_b)


def smoothed(p: Tensor, label_smoothing: float) -> Tensor:
    """p moved towards ½: (1 − ε) p + ε (1 − p) (conservative DPO, arXiv 2305.18290, app.)."""
    return (1 - label_smoothing) * p + label_smoothing * (1 - p)


def sigmoid_loss(delta: Tensor, p: Tensor, beta: float) -> Tensor:
    """DPO with a soft label (arXiv 2305.18290, eq. 7; p = 1 is the paper's).

    L = −p log σ(βΔ) − (1 − p) log σ(−βΔ); its minimum lies at σ(βΔ) = p.
    """
    return -p * logsigmoid(beta * delta) - (1 - p) * logsigmoid(-beta * delta)


def ipo_loss(delta: Tensor, p: Tensor, beta: float) -> Tensor:
    """IPO (arXiv 2310.12036, eq. 17), τ = β, in expectation over the label.

    L = p (Δ − 1/2β)² + (1 − p) (−Δ − 1/2β)². As its authors confirmed, Δ is meant per token:
    `train_dpo` length-normalises the log-ratios for this loss, as trl does.
    """
    target = 1 / (2 * beta)
    return p * (delta - target) ** 2 + (1 - p) * (-delta - target) ** 2


def hinge_loss(delta: Tensor, p: Tensor, beta: float) -> Tensor:
    """Hinge (SLiC, arXiv 2305.10425), in expectation over the label.

    L = p max(0, 1 − βΔ) + (1 − p) max(0, 1 + βΔ).
    """
    return p * torch.relu(1 - beta * delta) + (1 - p) * torch.relu(1 + beta * delta)


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "sigmoid": sigmoid_loss,
    "ipo": ipo_loss,
    "hinge": hinge_loss,
}
"""Losses by name."""
