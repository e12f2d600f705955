"""``python -m bench.reward_model``: the reward-model oracle beside bare transformers batching.

Both judge the same pairs by the same model in the same process, in turn: `RewardModel.judge`, and
the loop that anybody would write: texts sorted by length, the tokenizer's padding, a forward pass
a batch. ``oracle`` is judging as the worker calls it; ``bare`` has no probabilities to make. The
order of the two changes with each repeat. The model has random weights: only its size counts.

Writes ``bench/results/reward_model.json``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification
from transformers.utils import logging

from activedpo.oracles.reward_model import RewardModel
from activedpo.testing import tiny_model
from activedpo.types import Prompt

RESULT = Path(__file__).parent / "results" / "reward_model.json"
WORDS = ("the", "cat", "dog", "sat", "ran", "under", "mat", "tree", "then", "was", "good", "bad")
Triple = tuple[Prompt, str, str]


def model(folder: Path) -> str:
    """A reward model of some millions of weights over the tests' tokenizer."""
    tiny = tiny_model(folder / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=2_048,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    made = folder / "reward"
    LlamaForSequenceClassification(config).save_pretrained(made)
    tokenizer.save_pretrained(made)
    return str(made)


def pairs(count: int) -> list[Triple]:
    """Pairs of texts of very different lengths, as completions are."""
    rng = random.Random(0)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(4, 30)))

    return [(f"prompt {i}: {text()}", text(), text()) for i in range(count)]


@torch.inference_mode()
def bare(judge: RewardModel, given: Sequence[Triple]) -> list[float]:
    """The rewards by plain transformers, sorted by length, in batches of the same size."""
    tokenizer, network = judge.tokenizer, judge.model
    turns: list[Any] = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        for prompt, a, b in given
        for text in (a, b)
    ]
    if tokenizer.chat_template is None:
        texts = [f"{asked}{text}" for asked, a, b in given for text in (a, b)]
        ids = tokenizer(texts)["input_ids"]
    else:
        ids = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [0.0] * len(ids)
    for start in range(0, len(order), judge.batch_size):
        part = order[start : start + judge.batch_size]
        batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
        values = network(**batch.to(network.device)).logits[:, 0].float().tolist()
        for i, value in zip(part, values, strict=True):
            found[i] = value
    return found


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of this process, which other processes on the machine do not add to."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        judge = RewardModel(model(Path(folder)), device="cpu", dtype="float32")
    asked = pairs(given.pairs)
    ours: Callable[[], Any] = lambda: judge.judge(asked)  # noqa: E731
    theirs: Callable[[], Any] = lambda: bare(judge, asked)  # noqa: E731
    ours(), theirs()
    check = judge.judge(asked), bare(judge, asked)
    agree = all(
        p is not None and (p > 0.5) == (a > b)
        for p, a, b in zip(check[0], check[1][::2], check[1][1::2], strict=True)
    )
    runs = []
    for n in range(given.repeats):
        first, second = (ours, theirs) if n % 2 == 0 else (theirs, ours)
        took = [timed(first), timed(second)]
        oracle, plain = took if n % 2 == 0 else reversed(took)
        runs.append({"oracle": given.pairs / oracle, "bare": given.pairs / plain})
    result = {
        "taken_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "load": round(os.getloadavg()[0], 1),
        "unit": "pairs a second of CPU time",
        "weights": sum(p.numel() for p in judge.model.parameters()),
        "pairs": given.pairs,
        "batch_size": judge.batch_size,
        "same_verdicts": agree,
        "ratio": round(statistics.median(run["oracle"] / run["bare"] for run in runs), 3),
        "runs": [{name: round(value, 2) for name, value in run.items()} for run in runs],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
