"""A small causal language model, fitted on texts on the spot: a π_0 that needs no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from activedpo.loading import quiet
from activedpo.simulation.config import Fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Progress = Callable[[int, int], None]
PAD, END = "<pad>", "<|end|>"


def fit_policy(
    settings: Fit, texts: Sequence[str], folder: str | Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Fits a Llama-shaped model with a byte-pair encoding of its own and saves it.

    Args:
        settings: its size and training.
        texts: one document each; an end token is put behind.
        folder: where model (safetensors) and tokenizer are written.
        progress: called with (updates done, updates in all).

    Returns:
        `parameters`, `texts`, `updates`, and `loss`: mean nats a token over the last updates.
    """
    tokenizer = fit_tokenizer(texts, settings.vocabulary)
    model = _new_model(settings, len(tokenizer))
    rows = [ids[: settings.context] for ids in tokenizer(list(texts))["input_ids"]]
    ended = [torch.tensor([*row[: settings.context - 1], tokenizer.eos_token_id]) for row in rows]
    losses = _train(model, ended, settings, progress)
    with quiet():
        model.eval().save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "texts": len(texts),
        "updates": len(losses),
        "loss": float(np.mean(losses[-20:])),
    }


def fit_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level byte-pair encoding of at most `vocabulary` tokens, learnt from the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=PAD)


def _new_model(settings: Fit, vocabulary: int) -> PreTrainedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        intermediate_size=4 * settings.width,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def _train(
    model: Any, rows: Sequence[torch.Tensor], settings: Fit, progress: Progress | None
) -> list[float]:
    an_epoch = -(-len(rows) // settings.batch_size)
    total = min(settings.steps, settings.epochs * an_epoch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=total + 1, pct_start=0.1
    )
    model.train()
    losses = []
    for number in range(total):
        loss = _loss(model, [rows[i] for i in _batch(number, an_epoch, len(rows), settings)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress:
            progress(number + 1, total)
    return losses


def _batch(number: int, an_epoch: int, n: int, settings: Fit) -> np.ndarray:
    epoch, place = divmod(number, an_epoch)
    order = np.random.default_rng([settings.seed, epoch]).permutation(n)
    chosen: np.ndarray = order[place * settings.batch_size : (place + 1) * settings.batch_size]
    return chosen


def _loss(model: Any, rows: list[torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the next token, padding left out."""
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
