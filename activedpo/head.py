"""Log-probability of chosen tokens from hidden states, without the whole logit matrix in memory.

For hidden state h and target y: log p(y) = (W h)_y − log Σ_v exp (W h)_v, the logits made for a
chunk of positions at a time and reduced in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

CHUNK_LOGITS = 1 << 23
"""Logits held at once (32 MiB in float32)."""


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


def chunk_rows(vocabulary: int) -> int:
    """Positions whose logits are held at once."""
    return max(16, CHUNK_LOGITS // vocabulary)


def _capped(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Float32 logits, and the derivative of the cap where there is one."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if softcap is None:
        return logits, None
    bent = torch.tanh(logits / softcap)
    return bent * softcap, 1 - bent * bent


class _TokenLogprobs(torch.autograd.Function):
    """Chunked forward; the backward never sees more than one chunk of logits either.

    With a frozen output embedding (LoRA) the gradient in h, W_y − Σ_v p_v W_v, needs nothing that
    comes later but a factor per position, so it is made in the forward while the logits are there:
    no logit is computed twice. With a trained one, logits are made again in the backward.
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
        wide = hidden.dtype if hidden.dtype == torch.float64 else torch.float32
        logprobs = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        totals = torch.empty_like(logprobs)
        slopes = torch.empty_like(hidden) if early else None
        for part in _parts(len(hidden), weight.shape[0]):
            logits, bend = _capped(hidden[part], weight, bias, softcap)
            totals[part] = torch.logsumexp(logits, dim=-1)
            chosen = logits.gather(1, targets[part, None]).squeeze(1)
            logprobs[part] = chosen - totals[part]
            if slopes is not None:
                slope = _logit_slope(logits, bend, totals[part], targets[part])
                slopes[part] = slope.to(weight.dtype) @ weight
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


def _parts(rows: int, vocabulary: int) -> list[slice]:
    step = chunk_rows(vocabulary)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _logit_slope(logits: Tensor, bend: Tensor | None, total: Tensor, targets: Tensor) -> Tensor:
    """∂ log p(y) / ∂ logits = onehot(y) − softmax, through the cap. Overwrites `logits`."""
    slope = logits.sub_(total[:, None]).exp_().neg_()
    slope[torch.arange(len(slope), device=slope.device), targets] += 1
    return slope if bend is None else slope * bend


def _head_backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    totals: Tensor,
    softcap: float | None,
) -> tuple[Tensor | None, ...]:
    grad_hidden = torch.empty_like(hidden)
    wide = torch.promote_types(weight.dtype, torch.float32)
    grad_weight = torch.zeros_like(weight, dtype=wide)
    grad_bias = None if bias is None else torch.zeros_like(bias, dtype=wide)
    for part in _parts(len(hidden), weight.shape[0]):
        logits, bend = _capped(hidden[part], weight, bias, softcap)
        slope = _logit_slope(logits, bend, totals[part], targets[part]) * grad[part, None]
        slope = slope.to(weight.dtype)
        grad_hidden[part] = slope @ weight
        # Summed over chunks in float32: bfloat16 would lose the small ones.
        grad_weight += (slope.T @ hidden[part]).to(grad_weight.dtype)
        if grad_bias is not None:
            grad_bias += slope.sum(0)
    if grad_bias is not None and bias is not None:
        grad_bias = grad_bias.to(bias.dtype)
    return grad_hidden, grad_weight.to(weight.dtype), grad_bias, None, None
