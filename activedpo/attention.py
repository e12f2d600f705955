"""Which key each query of packed rows may see, in the form that the attention kernel takes.

The rule is one: a key is seen if it comes earlier in the same row, is no padding, and belongs to
the prompt or to the query's own completion. On a CPU it is a matrix for
`scaled_dot_product_attention`. On a GPU the rows stand one behind the other in a single long row,
and FlexAttention (arXiv 2412.05496) leaves out the blocks of 128 × 128 in which nothing is seen:
other rows, the future, the other completion.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from activedpo.loading import Policy


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of some rows, padded to the longest, or one behind the other in a single line.

    Args:
        tokens, positions: (lines, length) int64.
        segments: (lines, length): 0 prompt, k the k-th completion, −1 padding.
        rows: (lines, length): which row of the batch a column belongs to.
        sources: (n,) flat index (line · length + column) of the position that predicts a target.
        targets: (n,) the predicted ids.
        owners: (n,) which completion of the batch a target belongs to, counted through.
        completions: how many completions there are.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    rows: Tensor
    sources: Tensor
    targets: Tensor
    owners: Tensor
    completions: int


def block_mask(batch: Batch, window: int | None = None) -> Tensor:
    """(lines, length, length) bool: which key (last axis) each query may see.

    Args:
        window: a sliding window sees only keys less than `window` positions back.
    """
    length = batch.tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.tokens.device).tril()
    keys, queries = batch.segments[:, None, :], batch.segments[:, :, None]
    allowed = causal & ((keys == 0) | (keys == queries))
    allowed &= batch.rows[:, None, :] == batch.rows[:, :, None]
    if window is not None:
        allowed &= batch.positions[:, :, None] - batch.positions[:, None, :] < window
    return allowed


def flex_mask(batch: Batch, window: int | None = None) -> Any:
    """`block_mask` as FlexAttention's BlockMask: no matrix of the whole length is kept."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, segments, positions = batch.rows, batch.segments, batch.positions

    def seen(line: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        its = segments[line, key]
        allowed = (query >= key) & (rows[line, query] == rows[line, key])
        allowed &= (its == 0) | (its == segments[line, query])
        if window is not None:
            allowed &= positions[line, query] - positions[line, key] < window
        return allowed

    lines, length = batch.tokens.shape
    device = batch.tokens.device
    compiled = device.type == "cuda"  # else the whole matrix is made on the way
    return create_block_mask(seen, lines, None, length, length, device, _compile=compiled)


def attention_masks(policy: Policy, batch: Batch) -> Any:
    """The mask in the form that the architecture takes: one, or one per kind of layer."""
    return per_kind_of_layer(policy, lambda window: _mask(policy, batch, window))


def per_kind_of_layer(policy: Policy, make: Callable[[int | None], Any]) -> Any:
    """`make(window)` of what the architecture's layers want: one mask, or one per kind of layer.

    Args:
        make: a mask whose queries see `window` positions back, or, with None, all.
    """
    config = policy.base.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    if kinds:
        windows = {"full_attention": None, "sliding_attention": window}
        return {kind: make(windows[kind]) for kind in kinds}
    return make(window)


def _mask(policy: Policy, batch: Batch, window: int | None) -> Any:
    if policy.flex:
        return flex_mask(batch, window)
    return additive(block_mask(batch, window), policy.dtype)[:, None]


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key is seen, the lowest number where not.

    Made once for all layers: scaled_dot_product_attention would turn a boolean into it at each.
    """
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


@contextlib.contextmanager
def packed_attention(policy: Policy) -> Iterator[None]:
    """Inside, the model computes with the kernel that its packed rows want.

    The backward belongs inside as well: recomputed activations read the model's setting again.
    """
    if not policy.flex:
        yield
        return
    config = policy.base.config
    usual = config._attn_implementation
    policy.base.set_attn_implementation("flex_attention")
    try:
        yield
    finally:
        policy.base.set_attn_implementation(usual)
