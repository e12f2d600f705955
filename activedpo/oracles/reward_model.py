"""A reward model: a transformer with one number for a text, compared by Bradley-Terry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from activedpo.errors import ModelMismatch, NoWeights
from activedpo.loading import pick_device, pick_dtype, quiet
from activedpo.odds import sigmoid
from activedpo.oracles.templates import as_text
from activedpo.types import Prompt

Triple = tuple[Prompt, str, str]


class RewardModel:
    """p(a is better) = σ(scale · (r(a) − r(b))), r the model's one output.

    Bradley & Terry (1952). A chat prompt, and a text one where the tokenizer has a chat template,
    is put through the template with the completion as the assistant's turn.

    Raises:
        ModelMismatch: the model has more than one output. NoWeights: it cannot be loaded.
    """

    def __init__(
        self,
        model: str,
        batch_size: int = 16,
        scale: float = 1.0,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        place = pick_device(device)
        try:
            with quiet():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
                self.model: Any = AutoModelForSequenceClassification.from_pretrained(
                    model, dtype=pick_dtype(dtype, place), use_safetensors=True
                )
        except (OSError, ValueError) as error:
            raise NoWeights(f"the reward model {model!r} cannot be loaded: {error}") from error
        outputs = int(self.model.config.num_labels)
        if outputs != 1:
            raise ModelMismatch(f"a reward model has one output, and {model!r} has {outputs}")
        self.model.to(place).eval().requires_grad_(False)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = self.tokenizer.pad_token_id
        self.batch_size, self.scale = batch_size, scale

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        return self.judge([(prompt, completion_a, completion_b)])[0]

    def judge(self, pairs: Sequence[Triple]) -> list[float | None]:
        """p of each (prompt, a, b); None where a text is too long for the model."""
        texts = [(prompt, text) for prompt, a, b in pairs for text in (a, b)]
        rewards = self.rewards(texts)
        found: list[float | None] = []
        for a, b in zip(rewards[::2], rewards[1::2], strict=True):
            found.append(None if a is None or b is None else sigmoid(self.scale * (a - b)))
        return found

    @torch.inference_mode()
    def rewards(self, texts: Sequence[tuple[Prompt, str]]) -> list[float | None]:
        """r of each (prompt, completion); None where it is longer than the model's context."""
        encoded = [self._encode(prompt, text) for prompt, text in texts]
        most = getattr(self.model.config, "max_position_embeddings", None) or math.inf
        fitting = [i for i, ids in enumerate(encoded) if 0 < len(ids) <= most]
        fitting.sort(key=lambda i: len(encoded[i]))  # little padding
        found: list[float | None] = [None] * len(texts)
        for start in range(0, len(fitting), self.batch_size):
            part = fitting[start : start + self.batch_size]
            rows = {"input_ids": [encoded[i] for i in part]}
            batch = self.tokenizer.pad(rows, return_tensors="pt").to(self.model.device)
            logits = self.model(**batch).logits[:, 0].float().tolist()
            for i, value in zip(part, logits, strict=True):
                found[i] = value if math.isfinite(value) else None
        return found

    def _encode(self, prompt: Prompt, text: str) -> list[int]:
        if self.tokenizer.chat_template is None:
            ids: list[int] = self.tokenizer(as_text(prompt) + text)["input_ids"]
            return ids
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        turns = [*turns, {"role": "assistant", "content": text}]
        whole = self.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
        return [int(token) for token in whole]
