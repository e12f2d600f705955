"""Drawing the next token: one uniform number a token, so a sample does not depend on its batch.

Sample k of prompt i draws from a stream of its own, made from (seed, i, k): the same seed gives
the same pool, however it is batched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from activedpo.types import Tokens

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    Args:
        max_new_tokens: where a completion is cut.
        temperature: T of softmax(z / T); 0 takes the most likely token.
        top_p, top_k: keep the smallest set of tokens of mass ≥ p, or the k most likely; None: all.
        seed: of the pool.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")

    @property
    def is_policy(self) -> bool:
        """True where the drawn distribution is the policy's own, so its log-probs are π_θ's."""
        return self.temperature == 1.0 and self.top_p in (None, 1.0) and self.top_k is None

    def stream(self, prompt: int, sample: int, length: int) -> np.ndarray:
        """(length,) uniform numbers of sample `sample` of prompt `prompt`."""
        return np.random.default_rng([self.seed, prompt, sample]).random(length)


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids without the end token; `stop` is the id that ended it, None where it was cut."""

    tokens: Tokens
    stop: int | None
    logp: float | None


def choose(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Draws one token a row by inversion of the cumulative distribution.

    Args:
        logits: (rows, v); overwritten.
        uniforms: (rows,) float64 in [0, 1).

    Returns:
        tokens (rows,) int64 and their log-probability (rows,) under the drawn distribution.
    """
    logits = logits.float()
    if sampling.temperature == 0.0:
        best = logits.argmax(-1)
        return best, torch.zeros_like(best, dtype=torch.float64)
    if sampling.temperature != 1.0:
        logits = logits / sampling.temperature
    if not sampling.is_policy:
        logits = _filtered(logits, sampling)
    logits = logits - logits.amax(-1, keepdim=True)
    return _invert(logits, uniforms)


def _filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p is not None and sampling.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(-1).cumsum(-1)
        # A token stays while the mass before it is below p: the first one always does.
        out = torch.zeros_like(mass, dtype=torch.bool)
        out[:, 1:] = mass[:, :-1] >= sampling.top_p
        logits = logits.masked_fill(out.scatter(1, order, out), -torch.inf)
    return logits


def _invert(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Two steps, block and token in the block: one pass over the vocabulary, float64 sums."""
    rows, vocabulary = logits.shape
    weights = torch.nn.functional.pad(logits.exp(), (0, -vocabulary % _BLOCK))
    blocks = weights.view(rows, -1, _BLOCK)
    mass = blocks.sum(-1).double().cumsum(-1)
    total = mass[:, -1]
    aim = uniforms * total
    block = torch.searchsorted(mass, aim[:, None], right=True).squeeze(1)
    block = block.clamp_max(mass.shape[1] - 1)
    every = torch.arange(rows, device=logits.device)
    before = torch.where(block > 0, mass[every, block - 1], 0.0)
    inside = blocks[every, block].double().cumsum(-1)
    place = torch.searchsorted(inside, (aim - before)[:, None], right=True).squeeze(1)
    # Rounding may point behind the last token of positive weight: take that one.
    place = torch.minimum(place, _last_positive(blocks[every, block]))
    tokens = block * _BLOCK + place
    return tokens, logits[every, tokens].double() - total.log()


def _last_positive(weights: Tensor) -> Tensor:
    index = torch.arange(weights.shape[1], device=weights.device)
    return torch.where(weights > 0, index, -1).amax(-1).clamp_min(0)
