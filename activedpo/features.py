"""Features of pairs for acquisition: hidden states, or gradients of the implicit reward."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from activedpo.encoding import encode_pairs
from activedpo.loading import Policy
from activedpo.packing import plain_logprobs
from activedpo.scoring import score_pairs
from activedpo.trainable import trainable_copy, trained_parameters
from activedpo.types import Pair

KINDS = ("hidden", "gradient")
WIDTH = 256
"""Most dimensions that are kept; beyond them a random projection (Johnson-Lindenstrauss)."""


def pair_features(
    policy: Policy,
    pairs: Sequence[Pair],
    kind: str = "hidden",
    *,
    hidden: np.ndarray | None = None,
    width: int = WIDTH,
    rank: int = 4,
) -> np.ndarray:
    """Features of both completions of each pair.

    Args:
        policy: π_θ.
        kind: "hidden": the mean last hidden state over the completion's tokens; "gradient":
            ∇ log π_θ(y | x) with regard to a LoRA adapter (the policy's own, else a new one of
            rank `rank`), as in arXiv 2505.19241. β is left out: it scales all alike.
        hidden: (n, 2, d) of these pairs, where `score_pairs(hidden=True)` gave them already.
        width: of the projection; the same directions in every call.

    Returns:
        (n, 2, min(d, width)) float32; `kind="gradient"` costs a forward and a backward pass a
        completion, "hidden" a forward pass, or nothing where `hidden` is given.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if kind == "gradient":
        return _gradients(policy, pairs, width, rank)
    if hidden is None:
        hidden = score_pairs(policy, pairs, policy, hidden=True).hidden
    assert hidden is not None  # asked for
    return projected(np.asarray(hidden), width)


def projected(features: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """(..., d) to (..., width) by a fixed random projection that keeps inner products on average;
    narrower features stay as they are.
    """
    size = features.shape[-1]
    if size <= width:
        return features.astype(np.float32)
    directions = np.random.default_rng([size, width]).standard_normal((size, width))
    return (features @ (directions / math.sqrt(width))).astype(np.float32)


def _gradients(policy: Policy, pairs: Sequence[Pair], width: int, rank: int) -> np.ndarray:
    # A rank of at least 1: the gradient is taken in an adapter's weights, also of a full policy.
    copy = trainable_copy(policy, lora=rank, seed=0)
    parameters = list(trained_parameters(copy).values())
    size = sum(p.numel() for p in parameters)
    slots, signs = _sketch(size, width)
    found = np.zeros((len(pairs), 2, width), dtype=np.float32)
    for index, pair in enumerate(encode_pairs(policy, pairs)):
        for side, completion in enumerate((pair.a, pair.b)):
            logp = plain_logprobs(copy, pair.prompt, completion).sum()
            gradient = torch.autograd.grad(logp, parameters)
            flat = torch.cat([g.detach().flatten() for g in gradient]).float().cpu()
            sketch = torch.zeros(width).index_add_(0, slots, flat * signs)
            found[index, side] = sketch.numpy()
    return found


def _sketch(size: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A count sketch (Charikar et al. 2002): each coordinate to one slot with a sign, which keeps
    inner products on average in one pass and needs no matrix.
    """
    rng = np.random.default_rng([size, width, 1])
    slots = torch.from_numpy(rng.integers(width, size=size))
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=size).astype(np.float32))
    return slots, signs
