"""Models and pairs for the benchmarks: real shapes, random weights (speed does not read them)."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from activedpo.loading import Policy, load
from activedpo.testing import tiny_model, tiny_tokenizer
from activedpo.types import Pair

SHAPES = {
    "96 + 2 × 48": (96, 48, False),
    "512 + 2 × 64": (512, 64, False),
    "12 + 2 × 20": (12, 20, False),
    "ragged 96 + 2 × 48": (96, 48, True),
}
"""Prompt tokens, completion tokens, and whether lengths vary (uniform from a quarter to 7/4)."""


@cache
def smol_folder() -> str:
    """A folder with a model of SmolLM2-135M's shape."""
    folder = _folder()
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8_192,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@cache
def small_folder() -> str:
    """The tests' tiny model: to see that a benchmark runs, not what it measures."""
    return tiny_model(_folder(), context=2_048)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="activedpo-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def policy(model: str | None, small: bool, dtype: str) -> Policy:
    """The model that is asked for, else SmolLM2's shape."""
    return load(model or (small_folder() if small else smol_folder()), dtype=dtype)


def some(count: int, shape: str) -> int:
    """Fewer pairs where they are long."""
    return max(4, count // 4) if SHAPES[shape][0] > 256 else count


def pairs(policy: Policy, count: int, shape: str, seed: int = 0) -> list[Pair]:
    """Pairs of random token ids in one of `SHAPES`."""
    prompt, completion, ragged = SHAPES[shape]
    rng = np.random.default_rng(seed)

    def length(mean: int) -> int:
        return int(rng.integers(mean // 4, 7 * mean // 4 + 1)) if ragged else mean

    def tokens(mean: int, less: int = 0) -> tuple[int, ...]:
        ids = rng.integers(4, policy.vocabulary, length(mean) - less)
        return tuple(int(i) for i in ids)

    return [
        Pair(
            "x",
            "a",
            "b",
            prompt_tokens=tokens(prompt),
            tokens_a=tokens(completion, 1),
            tokens_b=tokens(completion, 1),
            id=str(i),
        )
        for i in range(count)
    ]
