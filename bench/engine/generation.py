"""Sampling a pool and estimating entropy, against transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from activedpo.decoding import Request, decode
from activedpo.loading import Policy
from activedpo.packing import plain_logprobs
from activedpo.sampling import Sampling
from bench.engine.contest import Contest
from bench.engine.material import policy

LIMIT = 64
"""New tokens at most; stops are ragged, see `stops`."""
SHARE = 4
"""Of the prompts whose entropy is asked, every so many-th goes the slow way as well."""


def run(model: str | None, small: bool, repeats: int, pools: Sequence[int]) -> list[Contest]:
    """Tokens/s of two completions a prompt, at pools of some sizes, as people run it: bfloat16."""
    sampled = policy(model, small, "bfloat16")
    # The largest pool takes minutes a turn, and varies least.
    return [_one(sampled, size, 1 if size == max(pools) else repeats) for size in pools]


def entropy(
    model: str | None, small: bool, repeats: int, prompts: int, n: int = 16
) -> list[Contest]:
    """Prompts/s of the entropy estimate, against sampling and then scoring what was sampled.

    The usual way takes four prompts at a time, so its cost is a sum over them: it is given every
    fourth prompt and its time counts four times.
    """
    sampled = policy(model, small, "bfloat16")
    chosen = random_prompts(sampled, prompts)
    few, share = chosen[:2], sorted(chosen, key=len)[::SHARE]
    contest = Contest(f"entropy, {prompts} prompts, N = {n}", "prompts/s", prompts, "one pass")
    contest.run(
        {
            "one pass": lambda: ours(sampled, chosen, n),
            "sample, then score": lambda: then_score(sampled, share, n),
        },
        repeats,
        warm=[lambda: ours(sampled, few, n), lambda: then_score(sampled, few, n)],
    )
    times = len(chosen) / len(share)
    peer = contest.seconds["sample, then score"]
    contest.seconds["sample, then score"] = [taken * times for taken in peer]
    contest.extra["prompts_of_the_peer"] = len(share)
    return [contest]


def _one(sampled: Policy, size: int, repeats: int) -> Contest:
    prompts = random_prompts(sampled, size)
    made = ours(sampled, prompts, 2)
    tokens = sum(len(sample.tokens) for samples in made for sample in samples)
    contest = Contest(f"generation, pool of {size}", "tokens/s", tokens, "slots")
    contenders: dict[str, Callable[[], object]] = {
        "slots": lambda: ours(sampled, prompts, 2),
        "model.generate, batches of 32": lambda: batches(sampled, prompts, 2),
        "continuous batching": lambda: continuous(sampled, prompts, 2),
    }
    few = prompts[:4]
    warm = [lambda run=run: run(sampled, few, 2) for run in (ours, batches, continuous)]
    return contest.run(contenders, repeats, warm)


def random_prompts(sampled: Policy, count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [
        tuple(int(i) for i in rng.integers(4, sampled.vocabulary, int(rng.integers(16, 97))))
        for _ in range(count)
    ]


def stops(sampled: Policy) -> frozenset[int]:
    """Enough stop ids that a random model ends after 32 tokens on average."""
    step = 32
    return frozenset(range(1, sampled.vocabulary, step))


def ours(sampled: Policy, prompts: Sequence[tuple[int, ...]], n: int) -> Any:
    requests = [Request(prompt, n, LIMIT) for prompt in prompts]
    return decode(sampled, requests, Sampling(LIMIT), [stops(sampled)] * len(prompts))


def settings(sampled: Policy, n: int) -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        max_new_tokens=LIMIT,
        temperature=1.0,
        top_k=0,
        num_return_sequences=n,
        eos_token_id=sorted(stops(sampled)),
        pad_token_id=0,
    )


def batches(
    sampled: Policy, prompts: Sequence[tuple[int, ...]], n: int, size: int = 32
) -> list[torch.Tensor]:
    """The usual script, sorted by length so that little is padded."""
    ordered = sorted(prompts, key=len)
    made = []
    for start in range(0, len(ordered), size):
        chosen = ordered[start : start + size]
        width = max(len(prompt) for prompt in chosen)
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in chosen])
        seen = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in chosen])
        with torch.inference_mode():
            made.append(
                sampled.model.generate(
                    input_ids=ids, attention_mask=seen, generation_config=settings(sampled, n)
                )
            )
    return made


def continuous(sampled: Policy, prompts: Sequence[tuple[int, ...]], n: int) -> object:
    """transformers' own continuous batching."""
    inputs = [list(prompt) for prompt in prompts for _ in range(n)]
    # Not inference_mode: it keeps buffers from one call to the next and writes into them.
    with torch.no_grad():
        return sampled.model.generate_batch(inputs, generation_config=settings(sampled, 1))


def then_score(sampled: Policy, prompts: Sequence[tuple[int, ...]], n: int) -> list[float]:
    """`model.generate`, and a pass over each sample for its log-probability."""
    sums = []
    for prompt, rows in zip(sorted(prompts, key=len), _split(sampled, prompts, n), strict=True):
        for row in rows:
            kept = [t for t in row.tolist() if t != 0] or [1]
            with torch.inference_mode():
                sums.append(float(plain_logprobs(sampled, prompt, tuple(kept)).sum()))
    return sums


def _split(
    sampled: Policy, prompts: Sequence[tuple[int, ...]], n: int, size: int = 4
) -> list[torch.Tensor]:
    ordered = sorted(prompts, key=len)
    parts: list[torch.Tensor] = []
    for start, made in zip(
        range(0, len(ordered), size), batches(sampled, ordered, n, size), strict=True
    ):
        chosen = ordered[start : start + size]
        width = max(len(prompt) for prompt in chosen)
        parts.extend(made[:, width:].reshape(len(chosen), n, -1))
    return parts
