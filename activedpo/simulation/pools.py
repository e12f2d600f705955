"""A round's pool: prompts whose pairs are written when they are needed, or recorded pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from activedpo.generation import generate_pairs
from activedpo.loading import Policy
from activedpo.simulation.bench import Bench, derive
from activedpo.simulation.judges import Labeller
from activedpo.simulation.meter import Meter
from activedpo.simulation.texts import Recorded
from activedpo.types import Pair, Prompt


class RoundPool(Protocol):
    """What a round chooses from; n candidates."""

    prompts: list[Prompt]

    def pairs(self, indices: Sequence[int]) -> list[Pair]:
        """The candidates' pairs."""
        ...

    def label(self, index: int) -> float | None:
        """Buys a label; None where there is nothing to decide."""
        ...


class GeneratedPool:
    """Prompts of the seed's stream; pairs are sampled from the policy at first use.

    A strategy that chooses without looking at pairs has only the chosen ones written.
    """

    def __init__(self, bench: Bench, policy: Policy, seed: int, number: int, meter: Meter) -> None:
        config = bench.config
        start = _pool_size(config.pool_factor, sum(config.steps[: number - 1]))
        size = _pool_size(config.pool_factor, config.steps[number - 1])
        self.source = repeats(size, config.duplicates, derive(seed, number, 6))
        drawn = stream(bench.prompts.train, seed, start, size)
        self.prompts = [drawn[place] for place in self.source]
        self.bench, self.policy, self.meter = bench, policy, meter
        self.seed = derive(seed, number, 0)
        self.labeller = Labeller(bench.oracle, config.noise, seed)
        self.written: dict[int, Pair] = {}
        self.calls = 0

    def pairs(self, indices: Sequence[int]) -> list[Pair]:
        places = [int(self.source[i]) for i in indices]
        missing = [place for place in dict.fromkeys(places) if place not in self.written]
        if missing:
            self._write(missing)
        return [self.written[place] for place in places]

    def _write(self, indices: list[int]) -> None:
        config = self.bench.config
        with self.meter.stage("generate", passes=2 * len(indices)):
            made = generate_pairs(
                self.policy,
                [self.prompts[i] for i in indices],
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                top_k=config.top_k,
                seed=derive(self.seed, self.calls),
            )
        self.calls += 1
        for index, pair in zip(indices, made, strict=True):
            self.written[index] = replace(pair, id=f"prompt {index}")

    def label(self, index: int) -> float | None:
        pair = self.written[int(self.source[index])]
        if pair.equal:
            return None
        return self.labeller(pair.prompt, pair.completion_a, pair.completion_b)


class RecordedPool:
    """A random part of the recorded pairs that are not bought yet, the same for every arm's draw.

    The order belongs to the seed and the round: two arms with the same past see the same pool.
    """

    def __init__(
        self, rows: Sequence[Recorded], bench: Bench, seed: int, number: int, bought: set[str]
    ) -> None:
        size = _pool_size(bench.config.pool_factor, bench.config.steps[number - 1])
        order = np.random.default_rng(derive(seed, number, 0)).permutation(len(rows))
        open_rows = [rows[i] for i in order if rows[i].pair.id not in bought]
        self.rows = open_rows[:size]
        self.prompts: list[Prompt] = [row.pair.prompt for row in self.rows]
        self.asked = 0.5
        self.labeller = Labeller(self._recorded, bench.config.noise, seed)

    def _recorded(self, *_: object) -> float | None:
        return self.asked

    def pairs(self, indices: Sequence[int]) -> list[Pair]:
        return [self.rows[i].pair for i in indices]

    def label(self, index: int) -> float | None:
        row = self.rows[index]
        self.asked = row.p
        return self.labeller(row.pair.prompt, row.pair.completion_a, row.pair.completion_b)


def stream(prompts: Sequence[Prompt], seed: int, start: int, count: int) -> list[Prompt]:
    """Prompts start..start+count of a seed's endless stream: all once, then all again, shuffled.

    The same for every strategy.
    """
    n = len(prompts)
    orders: dict[int, np.ndarray] = {}
    chosen = []
    for position in range(start, start + count):
        epoch, place = divmod(position, n)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([seed, epoch, 4]).permutation(n)
        chosen.append(prompts[int(orders[epoch][place])])
    return chosen


def repeats(size: int, share: float, seed: int) -> np.ndarray:
    """(size,) the place whose prompt and pair each place has: its own, or another's.

    That share of the places repeats one of the others, which ones is by chance.
    """
    rng = np.random.default_rng(seed)
    own = np.arange(size)
    again = np.sort(rng.permutation(size)[: int(share * size)])
    first = np.setdiff1d(own, again)
    own[again] = rng.choice(first, size=len(again))
    return own


def _pool_size(factor: float, labels: int) -> int:
    return int(np.ceil(factor * labels))
