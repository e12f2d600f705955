"""How much went through each stage of a work, from what it was given and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from activedpo.types import Pair
from worker.work import (
    CompareOutcome,
    EvaluateOutcome,
    GenerateOutcome,
    GenerateWork,
    TrainOutcome,
    TrainWork,
)

Volume = dict[str, tuple[float, float]]
"""(pairs, tokens) by stage; 0 where it is not known."""


def of(work: Any, outcome: Any, clock: dict[str, Any]) -> Volume:
    """The volume of one run.

    Args:
        clock: the child's, with the first and last step that it reported of each stage.
    """
    stages = clock.get("stages", {})
    if isinstance(work, GenerateWork) and isinstance(outcome, GenerateOutcome):
        return _generated(work, outcome)
    if isinstance(work, TrainWork) and isinstance(outcome, TrainOutcome):
        return {"training": _trained(work, outcome, stages.get("training"))}
    if isinstance(outcome, EvaluateOutcome):
        return {"evaluating": (float(outcome.metrics.get("eval_prompts") or 0), 0.0)}
    if isinstance(outcome, CompareOutcome):
        return {"generating": (float(max(map(len, outcome.said.values()), default=0)), 0.0)}
    return {}


def _generated(work: GenerateWork, outcome: GenerateOutcome) -> Volume:
    pairs = [scored.pair for scored in outcome.scored]
    through = (float(len(pairs)), float(_tokens(pairs)))
    return {"scoring": through} | ({"generating": through} if work.prompts else {})


def _tokens(pairs: Sequence[Pair]) -> int:
    """Tokens of the completions, the end token among them; 0 where they are texts alone."""
    sides = [side for pair in pairs for side in _sides(pair)]
    return sum(len(tokens) + finished for tokens, finished in sides if tokens is not None)


def _sides(pair: Pair) -> tuple[tuple[Any, bool], tuple[Any, bool]]:
    return (pair.tokens_a, pair.finished_a), (pair.tokens_b, pair.finished_b)


def _trained(
    work: TrainWork, outcome: TrainOutcome, stage: dict[str, Any] | None
) -> tuple[float, float]:
    """Of the steps that this attempt took itself: those before a checkpoint were another's."""
    if stage is None:
        return 0.0, 0.0
    steps = stage["last"] - stage["first"] + 1
    pairs, batch = outcome.metrics["trained_pairs"], int(work.training.get("batch_size", 16))
    a_step = pairs / max(1, -(-pairs // batch))  # the last batch of an epoch is smaller
    told = [step["tokens"] for step in outcome.metrics["steps"][-steps:] if "tokens" in step]
    mean = sum(told) / len(told) if told else 0.0
    return steps * a_step, steps * mean
