"""Log-probability of chosen tokens from hidden states; the logit matrix never exists.

For hidden state h and target y: log p(y) = (W h)_y − log Σ_v exp (W h)_v. The sum runs over tiles
of positions × vocabulary small enough to stay in a processor's cache, its maximum and total carried
along (online softmax, arXiv 1805.02867), in float32 whatever the weights are:

    m' = max(m, max of the tile)      s' = s · exp(m − m') + Σ exp(tile − m')

The gradient in h, W_y − Σ_v p_v W_v, is a mean of rows of W under the same softmax, so it is
carried along in the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class Tile(NamedTuple):
    """How many positions and vocabulary entries are computed at once."""

    positions: int
    entries: int


def tile(device: torch.device) -> Tile:
    """8 MiB of float32 logits on a CPU; on a GPU enough to fill it."""
    return Tile(2_048, 16_384) if device.type == "cuda" else Tile(1_024, 2_048)


def token_logprobs(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None
) -> Tensor:
    """log softmax(cap(W h + b))[target] for every position.

    Args:
        hidden: (n, d), last hidden states at the positions that predict.
        weight: (v, d) and bias (v,) or None: the output embedding.
        targets: (n,) int64.
        softcap: c of cap(z) = c · tanh(z / c) (Gemma), or None.

    Returns:
        (n,) float32. Differentiable in hidden, and in weight and bias where they ask for it.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        # Cast here, where autograd sees it: inside the function autocast would not reach backward.
        low = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(low), weight.to(low)
        bias = None if bias is None else bias.to(low)
    with torch.autocast(device, enabled=False):
        logprobs: Tensor = _TokenLogprobs.apply(hidden, weight, bias, targets, softcap)  # type: ignore[no-untyped-call]
        return logprobs


class _TokenLogprobs(torch.autograd.Function):
    """Tiled forward; the backward never holds more than a tile of logits either.

    With a frozen output embedding (LoRA) the gradient in h needs nothing that comes later but a
    factor per position, so it is made in the forward while the logits are there: no logit is
    computed twice. With a trained one, logits are made again in the backward.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        softcap: float | None,
    ) -> Tensor:
        train_head = weight.requires_grad or (bias is not None and bias.requires_grad)
        early = hidden.requires_grad and not train_head
        wide = _wide(hidden.dtype)
        logprobs = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        totals = torch.empty_like(logprobs)
        slopes = torch.empty_like(hidden) if early else None
        for part in _parts(len(hidden), tile(hidden.device).positions):
            sums = _Sums(hidden[part], targets[part], early)
            for entries in _parts(len(weight), tile(hidden.device).entries):
                sums.add(weight[entries], None if bias is None else bias[entries], softcap)
            totals[part] = sums.log_total()
            logprobs[part] = sums.chosen - totals[part]
            if slopes is not None:
                slopes[part] = sums.slope(weight).to(slopes.dtype)
        ctx.softcap, ctx.early = softcap, early
        ctx.save_for_backward(slopes, hidden, weight, bias, targets, totals)
        return logprobs

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> tuple[Tensor | None, ...]:
        slopes, hidden, weight, bias, targets, totals = ctx.saved_tensors  # type: ignore[attr-defined]
        (grad,) = grads
        if ctx.early:  # type: ignore[attr-defined]
            return grad[:, None].to(slopes.dtype) * slopes, None, None, None, None
        return _head_backward(grad, hidden, weight, bias, targets, totals, ctx.softcap)  # type: ignore[attr-defined]


class _Sums:
    """Running maximum, total and softmax-weighted rows of W of some positions."""

    def __init__(self, hidden: Tensor, targets: Tensor, weighted: bool) -> None:
        self.hidden, self.targets, self.first = hidden, targets, 0
        wide = _wide(hidden.dtype)
        self.most = hidden.new_full((len(hidden),), -torch.inf, dtype=wide)
        self.total = torch.zeros_like(self.most)
        self.chosen = torch.zeros_like(self.most)
        self.bend_chosen: Tensor | None = None
        self.rows = torch.zeros_like(hidden, dtype=wide) if weighted else None

    def add(self, weight: Tensor, bias: Tensor | None, softcap: float | None) -> None:
        """Takes in the next entries of the vocabulary."""
        logits, bend = _capped(self.hidden, weight, bias, softcap)
        self._choose(logits, bend)
        most = torch.maximum(self.most, logits.amax(1))
        faded = torch.exp(self.most - most)
        exponentials = logits.sub_(most[:, None]).exp_()
        self.total.mul_(faded).add_(exponentials.sum(1))
        if self.rows is not None:
            bent = exponentials if bend is None else exponentials * bend
            self.rows.mul_(faded[:, None]).add_(bent.to(weight.dtype) @ weight)
        self.most = most
        self.first += len(weight)

    def _choose(self, logits: Tensor, bend: Tensor | None) -> None:
        """Picks the targets' own logits where they lie in this tile."""
        local = self.targets - self.first
        inside = (local >= 0) & (local < logits.shape[1])
        at = local.clamp(0, logits.shape[1] - 1)[:, None]
        self.chosen = torch.where(inside, logits.gather(1, at).squeeze(1), self.chosen)
        if bend is not None:
            before = torch.ones_like(self.chosen) if self.bend_chosen is None else self.bend_chosen
            self.bend_chosen = torch.where(inside, bend.gather(1, at).squeeze(1), before)

    def log_total(self) -> Tensor:
        """(n,) log Σ_v exp logit_v."""
        return self.most + self.total.log()

    def slope(self, weight: Tensor) -> Tensor:
        """(n, d) ∂ log p(y) / ∂ h: W_y − Σ_v p_v W_v, each row of W bent by the cap."""
        assert self.rows is not None
        own = weight[self.targets].to(self.rows.dtype)
        if self.bend_chosen is not None:
            own = own * self.bend_chosen[:, None]
        return own.sub_(self.rows / self.total[:, None])


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _parts(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _capped(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Logits, at least float32, and the derivative of the cap where there is one."""
    logits = torch.nn.functional.linear(hidden, weight, bias).to(_wide(hidden.dtype))
    if softcap is None:
        return logits, None
    bent = torch.tanh(logits / softcap)
    return bent * softcap, 1 - bent * bent


def _head_backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    totals: Tensor,
    softcap: float | None,
) -> tuple[Tensor | None, ...]:
    wide = _wide(weight.dtype)
    # Summed over tiles in float32: bfloat16 would lose the small ones.
    grad_hidden = torch.zeros_like(hidden, dtype=wide)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    grad_bias = None if bias is None else torch.zeros_like(bias, dtype=wide)
    for part in _parts(len(hidden), tile(hidden.device).positions):
        for entries in _parts(len(weight), tile(hidden.device).entries):
            some = weight[entries]
            offset = None if bias is None else bias[entries]
            logits, bend = _capped(hidden[part], some, offset, softcap)
            slope = logits.sub_(totals[part, None]).exp_().neg_()  # onehot(y) − softmax
            local = targets[part] - entries.start
            at = ((local >= 0) & (local < len(some))).nonzero().squeeze(1)
            slope[at, local[at]] += 1
            slope = (
                slope.mul_(grad[part, None]) if bend is None else slope * bend * grad[part, None]
            )
            low = slope.to(weight.dtype)
            grad_hidden[part] += low @ some
            grad_weight[entries] += low.T @ hidden[part]
            if grad_bias is not None:
                grad_bias[entries] += slope.sum(0)
    if grad_bias is not None and bias is not None:
        grad_bias = grad_bias.to(bias.dtype)
    return grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias, None, None
