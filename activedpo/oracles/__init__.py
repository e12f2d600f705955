"""Oracles: automatic judges of which completion is the better one. No torch is imported here.

An oracle is a function (prompt, completion_a, completion_b) → p, the probability that a is the
better one, or None where it cannot decide: never a coin flip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from activedpo.oracles.length import length
from activedpo.oracles.regex import regex
from activedpo.oracles.sentiment import sentiment
from activedpo.types import Prompt


class Oracle(Protocol):
    """Judges a pair; see the module."""

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> float | None: ...


def openai(
    base_url: str,
    model: str,
    api_key: str | None = None,
    template: str = "helpfulness",
    criteria: str | None = None,
    both_orders: bool = True,
    on_disagreement: str = "abstain",
    concurrency: int = 8,
    budget: float | None = None,
    samples: int = 1,
    temperature: float = 0.0,
    max_tokens: int = 512,
    timeout: float = 60.0,
) -> Oracle:
    """A judge behind Chat Completions, asked one pair at a time; see `activedpo.oracles.llm`."""
    from activedpo.oracles import llm

    settings = llm.Settings(
        base_url=base_url,
        model=model,
        api_key=api_key,
        template=template,
        criteria=criteria,
        both_orders=both_orders,
        on_disagreement=on_disagreement,
        concurrency=concurrency,
        budget=budget,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        timeout=timeout,
    )
    return llm.Blocking(settings)


def callable_(callable: str) -> Oracle:
    """A function of somebody's own, by its entry point in group `activedpo.oracles`."""
    from activedpo.oracles.callables import installed

    return installed(callable)


def reward_model(model: str, batch_size: int = 16, scale: float = 1.0) -> Oracle:
    """A reward model (sequence classification), by folder or hub name."""
    from activedpo.oracles.reward_model import RewardModel

    return RewardModel(model, batch_size=batch_size, scale=scale)


def local_judge(
    model: str,
    template: str = "helpfulness",
    criteria: str | None = None,
    both_orders: bool = True,
    on_disagreement: str = "average",
) -> Oracle:
    """A causal language model of this machine as a judge, by folder or hub name."""
    from activedpo.oracles.local_judge import LocalJudge

    return LocalJudge(
        model,
        template=template,
        criteria=criteria,
        both_orders=both_orders,
        on_disagreement=on_disagreement,
    )


ORACLES: dict[str, Callable[..., Oracle]] = {
    "sentiment": sentiment,
    "length": length,
    "regex": regex,
    "openai": openai,
    "callable": callable_,
    "reward_model": reward_model,
    "local_judge": local_judge,
}
"""Makers of oracles by kind."""

__all__ = ["ORACLES", "Oracle", "length", "regex", "sentiment"]
