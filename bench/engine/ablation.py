"""What each part of the packed step brings: taken away one after the other, LoRA rank 16.

Forward and backward of one batch, without optimizer and data handling:

    all                         both completions behind one prompt, tiled head on completion
                                tokens, stored reference log-probs, small batches sorted by length
    without prompt sharing      each completion behind a copy of its prompt
    … nor tiled head            the whole logit matrix, as a model's own forward gives it
    … nor stored reference      a pass of the reference a step
    … nor small sorted batches  all rows in one batch, padded to the longest
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from activedpo.encoding import encode_pairs
from activedpo.loading import Policy
from activedpo.packing import Row, collate, logprobs, plan, sum_by_owner
from activedpo.scoring import pair_rows
from activedpo.trainable import trainable_copy
from bench.engine.contest import Contest
from bench.engine.material import pairs, policy
from bench.engine.scoring import padded_sums

BATCH = 8
BUDGET = 512
PARTS = ("prompt sharing", "tiled head", "stored reference", "small sorted batches")


def run(model: str | None, small: bool, repeats: int, shapes: Sequence[str]) -> list[Contest]:
    """Pairs/s of a batch of 8, float32."""
    start = trainable_copy(policy(model, small, "float32"), 16, seed=0)
    return [_one(start, shape, repeats) for shape in shapes]


def _one(start: Policy, shape: str, repeats: int) -> Contest:
    rows = pair_rows(encode_pairs(start, pairs(start, BATCH, shape)))
    contest = Contest(f"parts of the step, {shape}", "pairs/s", BATCH, "all")
    contenders: dict[str, Callable[[], object]] = {"all": partial(step, start, rows, 0)}
    for count, name in enumerate(PARTS, start=1):
        word = "without" if count == 1 else "… nor"
        contenders[f"{word} {name}"] = partial(step, start, rows, count)
    return contest.run(contenders, repeats)


def step(start: Policy, rows: Sequence[Row], without: int) -> None:
    """A pass forward and back; `without`: how many of the parts are taken away."""
    parts = [Row(row.prompt, (c,)) for row in rows for c in row.completions]
    used = list(rows) if without < 1 else parts
    budget = BUDGET if without < 4 else 10**9
    for indices in plan(used, budget):
        chosen = [used[i] for i in indices]
        if without >= 3:
            with start.adapter_off(), torch.no_grad():
                _sums(start, chosen, whole=True)
        sums = _sums(start, chosen, whole=without >= 2)
        # Any function of the sums has a backward of this cost.
        torch.autograd.backward(torch.nn.functional.logsigmoid(0.1 * sums).sum())
    start.model.zero_grad(set_to_none=True)


def _sums(start: Policy, rows: Sequence[Row], whole: bool) -> Tensor:
    if not whole:
        batch = collate(rows, 0, start.device)
        return sum_by_owner(logprobs(start, batch)[0], batch)
    return padded_sums(start, [(row.prompt, row.completions[0]) for row in rows])
