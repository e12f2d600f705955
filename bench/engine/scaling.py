"""Cost and memory against the size of the pool and the number of labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import activedpo as ad
from activedpo.types import Preference
from bench.engine.contest import Contest, peak_memory
from bench.engine.material import pairs, policy

SHAPE = "12 + 2 × 20"


def run(
    model: str | None, small: bool, pools: Sequence[int], labels: Sequence[int]
) -> list[Contest]:
    """Seconds a pair at growing sizes; linear cost keeps it level."""
    which = (model, small)
    return [
        _series("scoring", which, pools, score),
        _series("training", which, labels, train),
    ]


def _series(name: str, which: tuple[str | None, bool], sizes: Sequence[int], work: Any) -> Contest:
    contest = Contest(f"cost of {name} against size", "pairs/s", sizes[-1], f"{sizes[-1]} pairs")
    each, memory = {}, {}
    work(which, sizes[0])
    for size in sizes:
        started = time.perf_counter()
        work(which, size)
        contest.seconds[f"{size} pairs"] = [(time.perf_counter() - started) * sizes[-1] / size]
        each[size] = contest.seconds[f"{size} pairs"][0] / sizes[-1]
    for size in (sizes[0], sizes[-1]):
        memory[size] = peak_memory(work, which, size)
    contest.extra |= {"seconds_a_pair": each, "peak_mib": memory}
    return contest


def score(which: tuple[str | None, bool], size: int) -> None:
    scored = policy(*which, "bfloat16")
    ad.score_pairs(scored, pairs(scored, size, SHAPE))


def train(which: tuple[str | None, bool], size: int) -> None:
    start = policy(*which, "bfloat16")
    labels = [Preference(pair) for pair in pairs(start, size, SHAPE)]
    ad.train_dpo(start, labels, lora=8, epochs=1)
