"""How far scores in bfloat16 are from float32, and whether they choose the same pairs.

Speed does not read the weights, agreement does: this one wants a real model (`--model`) and real
prompts (`--prompts`). A short training on a rule (the completion with more different words wins)
gives margins to rank by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import activedpo as ad
from activedpo.encoding import encode_pairs
from activedpo.types import Pair, Preference, Scores
from bench.engine.contest import Contest
from bench.engine.material import pairs, policy
from bench.engine.scoring import one_at_a_time

TRAINED_ON = 48


def run(model: str | None, small: bool, count: int, prompts: Path | None) -> list[Contest]:
    """One pool scored in both precisions by the same trained policy."""
    wide = policy(model, small, "float32")
    pool = _pool(wide, count, prompts)
    labels = [Preference(pair, p=_more_words(pair)) for pair in pool[: min(TRAINED_ON, count)]]
    trained = ad.train_dpo(wide, labels, lora=8, epochs=2, learning_rate=5e-4).policy
    expected = ad.score_pairs(trained, pool)
    checked = pool[:16]
    plain = np.array(one_at_a_time(trained, encode_pairs(trained, checked))).reshape(-1, 2)
    ours = np.stack([expected.logp_a, expected.logp_b], 1)[: len(checked)]
    trained.model.bfloat16()
    found = ad.score_pairs(trained, pool)
    contest = Contest(f"agreement on {count} pairs", "pairs", count, "float32")
    contest.extra = compared(expected, found) | {
        "float32_against_one_at_a_time": float(np.max(np.abs(ours - plain) / np.abs(plain))),
        "model": Path(model).name if model else "random weights",
    }
    return [contest]


def compared(wide: Scores, low: Scores) -> dict[str, Any]:
    """Differences of summed log-probs and margins, and the overlap of the chosen sets."""
    relative = np.abs(low.logp_a - wide.logp_a) / np.abs(wide.logp_a)
    off = np.abs(low.margin - wide.margin)
    chosen = {
        f"top {m} by {name}": jaccard(ad.acquire(name, wide, m=m), ad.acquire(name, low, m=m))
        for name in ("certainty", "closest_call")
        for m in (len(off) // 16, len(off) // 8, len(off) // 4)
    }
    return {
        "logp_relative": {"median": float(np.median(relative)), "max": float(relative.max())},
        "margin_difference": {"median": float(np.median(off)), "max": float(off.max())},
        "margin_spread": float(np.std(wide.margin)),
        "jaccard": chosen,
    }


def jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    """|A ∩ B| / |A ∪ B|."""
    a, b = set(one), set(other)
    return len(a & b) / len(a | b)


def _pool(wide: ad.Policy, count: int, prompts: Path | None) -> list[Pair]:
    if prompts is None:
        return pairs(wide, count, "ragged 96 + 2 × 48")
    texts = [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()]
    asked = [[{"role": "user", "content": texts[i % len(texts)]}] for i in range(count)]
    return ad.generate_pairs(wide, asked, max_new_tokens=48)


def _more_words(pair: Pair) -> float:
    a, b = (len(set(text.lower().split())) for text in (pair.completion_a, pair.completion_b))
    return 0.5 if a == b else float(a > b)
