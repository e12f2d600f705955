"""Scoring a pool, against the ways people do it today."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

import activedpo as ad
from activedpo.encoding import EncodedPair, encode_pairs
from activedpo.loading import Policy
from activedpo.packing import plain_logprobs
from activedpo.scoring import pair_rows, score_rows
from activedpo.types import Tokens
from bench.engine.contest import Contest, matmul_rate
from bench.engine.material import SHAPES, pairs, policy, some


def run(
    model: str | None, small: bool, repeats: int, count: int, shapes: Sequence[str] | None = None
) -> Iterator[Contest]:
    """Pairs/s of one pass of the policy over a pool, in float32 and bfloat16."""
    return (
        _one(policy(model, small, dtype), dtype, shape, repeats, some(count, shape))
        for dtype in ("float32", "bfloat16")
        for shape in shapes or SHAPES
    )


def _one(scored: Policy, dtype: str, shape: str, repeats: int, count: int) -> Contest:
    encoded = encode_pairs(scored, pairs(scored, count, shape))
    contest = Contest(f"scoring {shape}, {dtype}", "pairs/s", count, "packed rows")
    contest.run(contenders(scored, encoded), repeats, contenders(scored, encoded[:4]).values())
    needed = flops(scored, encoded)
    limit = matmul_rate(scored.base)
    rate = contest.rate("packed rows") / count / limit
    contest.extra["share_of_flop_limit"] = needed * rate
    contest.extra["share_with_attention"] = (needed + attention_flops(scored, encoded)) * rate
    contest.extra["matmul_gflops"] = limit / 1e9
    return contest


def contenders(scored: Policy, encoded: Sequence[EncodedPair]) -> dict[str, Callable[[], object]]:
    """Ours and the usual ways, each over these pairs."""
    rows = pair_rows(encoded)
    return {
        "packed rows": lambda: score_rows(scored, rows),
        "one at a time": lambda: one_at_a_time(scored, encoded),
        "batches, padded": lambda: padded(scored, encoded),
        "trl reference pass": trl_pass(scored, encoded),
    }


def one_at_a_time(scored: Policy, encoded: Sequence[EncodedPair]) -> list[float]:
    with torch.inference_mode():
        return [
            float(plain_logprobs(scored, pair.prompt, completion).sum())
            for pair in encoded
            for completion in (pair.a, pair.b)
        ]


def padded(scored: Policy, encoded: Sequence[EncodedPair], size: int = 8) -> list[float]:
    """The usual script: batches in the order they come, whole logits, log-softmax, gather."""
    sequences = [(p.prompt, c) for p in encoded for c in (p.a, p.b)]
    sums: list[float] = []
    for start in range(0, len(sequences), size):
        with torch.inference_mode():
            sums.extend(padded_sums(scored, sequences[start : start + size]).tolist())
    return sums


def padded_sums(scored: Policy, sequences: Sequence[tuple[Tokens, Tokens]]) -> torch.Tensor:
    """Summed log-prob of each completion behind its prompt: one batch, whole logits."""
    width = max(len(p) + len(c) for p, c in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    seen, asked = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(sequences):
        length = len(prompt) + len(completion)
        ids[row, :length] = torch.tensor([*prompt, *completion])
        seen[row, :length] = 1
        asked[row, len(prompt) : length] = 1
    logits = scored.model(input_ids=ids, attention_mask=seen).logits[:, :-1].float()
    chosen = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (chosen * asked[:, 1:]).sum(1)


def trl_pass(scored: Policy, encoded: Sequence[EncodedPair]) -> Callable[[], object]:
    """trl's precompute of reference log-probs, given the same token ids."""
    data = Dataset.from_list(
        [{"prompt_ids": [*p.prompt], "chosen_ids": [*p.a], "rejected_ids": [*p.b]} for p in encoded]
    )

    class Tokenised(DPOTrainer):
        def _prepare_dataset(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
            return dataset

    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        bf16=False,
        use_cpu=scored.device.type == "cpu",
        report_to="none",
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    copied = ad.load(scored.name, dtype=str(scored.dtype))
    trainer = Tokenised(
        model=copied.model,
        ref_model=scored.model,
        args=arguments,
        train_dataset=data,
        processing_class=scored.tokenizer,
    )
    # Its cache would answer a second call: each one is of a dataset of its own.
    return lambda: trainer._precompute_ref_logps(
        data.add_column("run", [np.random.default_rng().random()] * len(data)), "train", 8
    )


def flops(scored: Policy, encoded: Sequence[EncodedPair]) -> float:
    """Multiply-adds × 2 that must be done: every token once, the head where it is asked."""
    rows = pair_rows(encoded)
    head = scored.base.get_output_embeddings().weight.numel()
    embedding = scored.base.get_input_embeddings().weight
    tied = embedding is scored.base.get_output_embeddings().weight
    weights = sum(p.numel() for p in scored.base.parameters())
    body = weights - head - (0 if tied else embedding.numel())
    return float(sum(2 * body * row.length + 2 * head * row.predicted for row in rows))


def attention_flops(scored: Policy, encoded: Sequence[EncodedPair]) -> float:
    """The same of attention: 4 d for each key that a query sees, in every layer."""
    config = scored.base.config.get_text_config()
    a_key = 4.0 * config.hidden_size * config.num_hidden_layers
    keys = 0.0
    for row in pair_rows(encoded):
        prompt = len(row.prompt)
        keys += prompt * (prompt + 1) / 2
        keys += sum(n * prompt + n * (n + 1) / 2 for n in (len(c) - 1 for c in row.completions))
    return a_key * keys
