"""A key/value cache of slots, so that finished rows leave and new ones come while others go on.

All rows write to the same column c; a row that came with a prompt of P tokens has it in columns
c − P … c − 1, and sees nothing to the left of its own start:

    column   0  1  2  3  4  5  6  7
    row 0    p  p  p  y  y  y  y  ·        start 0
    row 1    .  .  p  p  p  y  y  ·        start 2
    row 2    .  .  .  .  .  p  p  ·        start 5, admitted last

Active rows are always the first ones: a row that ends gets the last active one copied into its
place, so no step computes for a row that is done.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from activedpo.attention import additive, per_kind_of_layer
from activedpo.loading import Policy

Prefix = list[tuple[Tensor, Tensor]]
"""Keys and values (heads, prompt length, d) of one prompt, layer by layer."""

SLACK = 64
"""Columns beyond the longest row: everything moves left once in so many steps."""


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values (slots, heads, columns, d) of one layer, written in place."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.owner = cache
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        at, low, rows = self.owner.column, self.owner.low, self.owner.active
        self.keys[:rows, :, at] = key_states[:, :, 0]
        self.values[:rows, :, at] = value_states[:, :, 0]
        return self.keys[:rows, :, low : at + 1], self.values[:rows, :, low : at + 1]


class SlotCache(Cache):  # type: ignore[misc]
    """Slots for `rows` sequences of at most `longest` tokens."""

    def __init__(self, rows: int, longest: int, widest_prompt: int, device: torch.device) -> None:
        super().__init__(layers=[])
        self.rows = rows
        self.columns = longest + SLACK
        self.first = widest_prompt
        self.column = widest_prompt
        self.device = device
        self.starts: list[int] = []

    @property
    def low(self) -> int:
        """First column that any active row sees."""
        return min(self.starts, default=self.column)

    @property
    def active(self) -> int:
        return len(self.starts)

    @property
    def free(self) -> int:
        return self.rows - self.active

    def admit(self, prefix: Prefix) -> int:
        """Puts a prompt's keys and values into a free slot; returns its row."""
        if not self.layers:
            self._allocate(prefix)
        row, length = self.active, prefix[0][0].shape[1]
        start = self.column - length
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            layer.keys[row, :, start : self.column] = keys
            layer.values[row, :, start : self.column] = values
        self.starts.append(start)
        return row

    def retire(self, row: int) -> int:
        """Frees a row; returns the row that moved into its place (itself, if it was the last)."""
        last = self.active - 1
        if row != last:
            start = self.starts[last]
            for layer in self.layers:
                for states in (layer.keys, layer.values):
                    states[row, :, start : self.column] = states[last, :, start : self.column]
            self.starts[row] = start
        self.starts.pop()
        return last

    def advance(self) -> None:
        """To the next column; at the right edge everything moves left."""
        self.column += 1
        if self.column < self.columns:
            return
        shift = min(self.low, self.column - self.first)
        for layer in self.layers:
            for states in (layer.keys, layer.values):
                kept = states[: self.active, :, shift : self.column].clone()
                states[: self.active, :, : self.column - shift] = kept
        self.column -= shift
        self.starts = [start - shift for start in self.starts]

    def positions(self) -> Tensor:
        """(active, 1) position of the token that is fed next."""
        return self.column - torch.tensor(self.starts, device=self.device)[:, None]

    def masks(self, policy: Policy) -> Any:
        """Additive mask (active, 1, 1, columns seen), or one per kind of layer."""
        return per_kind_of_layer(policy, lambda window: self._mask(policy.dtype, window))

    def _mask(self, dtype: torch.dtype, window: int | None) -> Tensor:
        columns = torch.arange(self.low, self.column + 1, device=self.device)
        seen = columns >= torch.tensor(self.starts, device=self.device)[:, None]
        if window is not None:
            seen &= columns > self.column - window
        return additive(seen, dtype)[:, None, None]

    def _allocate(self, prefix: Prefix) -> None:
        for keys, values in prefix:
            layer = _SlotLayer(self)
            layer.keys = keys.new_zeros(self.rows, keys.shape[0], self.columns, keys.shape[2])
            layer.values = values.new_zeros(
                self.rows, values.shape[0], self.columns, values.shape[2]
            )
            self.layers.append(layer)


def prefill(policy: Policy, prompts: list[tuple[int, ...]]) -> tuple[list[Prefix], Tensor]:
    """Runs prompts once, padded on the right, where a causal mask hides the pads by itself.

    Returns:
        The keys and values of each prompt, and (prompts, d) the hidden state of its last token.
    """
    widths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(widths), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    cache = DynamicCache()  # without a config: full layers, also where the model slides a window
    output = policy.base.base_model(
        input_ids=ids.to(policy.device), past_key_values=cache, use_cache=True
    )
    last = torch.tensor(widths, device=policy.device) - 1
    states = output.last_hidden_state[torch.arange(len(prompts), device=policy.device), last]
    prefixes = [
        [(layer.keys[row, :, :width], layer.values[row, :, :width]) for layer in cache.layers]
        for row, width in enumerate(widths)
    ]
    return prefixes, states


def next_logits(policy: Policy, states: Tensor) -> Tensor:
    """Logits of hidden states (n, d), through the head and its cap."""
    logits: Tensor = policy.base.get_output_embeddings()(states)
    softcap = getattr(policy.base.config.get_text_config(), "final_logit_softcapping", None)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def step(policy: Policy, cache: SlotCache, tokens: Tensor) -> Tensor:
    """Feeds one token (active,) to every active row; returns the logits (active, v)."""
    output = policy.base.base_model(
        input_ids=tokens[:, None],
        attention_mask=cache.masks(policy),
        position_ids=cache.positions(),
        past_key_values=cache,
        use_cache=True,
    )
    cache.advance()
    return next_logits(policy, output.last_hidden_state[:, -1])
