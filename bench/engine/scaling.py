"""Cost and memory against the size of the pool and the number of labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import activedpo as ad
from activedpo.loading import Policy
from activedpo.types import Pair, Preference
from bench.engine.contest import Contest, alone
from bench.engine.material import pairs, policy

SHAPE = "12 + 2 × 20"
Work = Callable[[Policy, Sequence[Pair]], object]
Which = tuple[str | None, bool]


def run(
    model: str | None, small: bool, pools: Sequence[int], labels: Sequence[int]
) -> list[Contest]:
    """Seconds a pair at growing sizes; linear cost keeps it level."""
    which = (model, small)
    return [
        _series("scoring", which, pools, score),
        _series("training", which, labels, train),
    ]


def _series(name: str, which: Which, sizes: Sequence[int], work: Work) -> Contest:
    """Each size in a process of its own, which tells its time and its peak."""
    contest = Contest(f"cost of {name} against size", "pairs/s", sizes[-1], f"{sizes[-1]} pairs")
    each, memory = {}, {}
    for size in sizes:
        seconds, memory[size] = alone(timed, which, work, size)
        each[size] = seconds / size
        contest.seconds[f"{size} pairs"] = [each[size] * sizes[-1]]
    contest.extra |= {"seconds_a_pair": each, "peak_mib": memory}
    return contest


def timed(which: Which, work: Work, size: int) -> float:
    """Seconds of `work` on so many pairs, model and pairs at hand, after a few to warm up."""
    start = policy(*which, "bfloat16")
    chosen = pairs(start, size, SHAPE)
    work(start, chosen[:8])
    started = time.perf_counter()
    work(start, chosen)
    return time.perf_counter() - started


def score(scored: Policy, chosen: Sequence[Pair]) -> None:
    ad.score_pairs(scored, chosen)


def train(start: Policy, chosen: Sequence[Pair]) -> None:
    ad.train_dpo(start, [Preference(pair) for pair in chosen], lora=8, epochs=1)
