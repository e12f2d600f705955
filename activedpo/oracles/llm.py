"""A language model as a judge, over any OpenAI-compatible endpoint.

Both orders are asked, a reply that cannot be read is an abstention in either order, equal
completions are a tie without a question, and what was asked before is not asked again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import weakref
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from activedpo.oracles import logprobs, parsing, templates
from activedpo.oracles.endpoint import LONGEST_KEPT, BadRequestError, Endpoint, Reply
from activedpo.oracles.gate import Gate
from activedpo.oracles.verdict import RefusedPairError, StoppedError, TroubleError, Verdict
from activedpo.types import Prompt

NO_LOGPROBS = "no_logprobs"
"""Counts, among what was spent, the replies whose verdict had no log-probabilities."""

TRIES, TRIES_WHEN_BUSY = 4, 12
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


Cache = MutableMapping[str, dict[str, Any]]
"""Keeps replies by the content of their question."""


@dataclass(frozen=True)
class Settings:
    """How a language model judges.

    Attributes:
        budget: US dollars that may be spent in all, ``cost_before`` included; None: no limit.
        price_in, price_out: US dollars for a million tokens.
        samples: questions in each order; their mean is the probability.
        structured: ask for a JSON schema; given up by itself where the endpoint knows none.
        guard: random delimiters around the texts that are judged.
        logprobs: p from the log-probabilities of the verdict's token, where the endpoint gives
            them, instead of 1 or 0.
        on_disagreement: of the orders: "abstain", "tie", or, with ``logprobs``, "average".
        public_only: refuse addresses that are not public.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    template: str = "helpfulness"
    criteria: str | None = None
    both_orders: bool = True
    on_disagreement: str = "abstain"
    concurrency: int = 8
    budget: float | None = None
    cost_before: float = 0.0
    price_in: float = 10.0
    price_out: float = 30.0
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 512
    timeout: float = 60.0
    structured: bool = True
    guard: bool = True
    logprobs: bool = False
    public_only: bool = False


@dataclass(frozen=True)
class _Answer:
    """One reply read, and what it took; ``p``: of the first shown, from log-probabilities."""

    order: str
    text: str
    verdict: str | None
    p: float | None
    spent: dict[str, float]


class LLMJudge:
    """Judges pairs by a language model; see `activedpo.oracles.verdict.Judge`.

    Raises, when called:
        TroubleError: the endpoint is in trouble, after retries.
        RefusedPairError: it does not take this pair.
        StoppedError: the key is refused, or the budget used up.
    """

    def __init__(self, settings: Settings, cache: Cache | None = None) -> None:
        self.settings = settings
        self.criteria = templates.criteria_of(settings.template, settings.criteria)
        self.cost = settings.cost_before
        self._reserved = 0.0
        self._tokens_out = 32.0  # a running mean, for what a question under way will cost
        self._gate = Gate(settings.concurrency)
        self._cache: Cache = {} if cache is None else cache
        self._forms = _forms(settings)
        self._form, self._proven = 0, False
        self._endpoint = Endpoint(
            settings.base_url,
            settings.model,
            settings.api_key,
            timeout=settings.timeout,
            connections=settings.concurrency + 4,
            public_only=settings.public_only,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._endpoint.close()

    async def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> Verdict:
        """The verdict on one pair; any number may be asked for at once."""
        if completion_a == completion_b:
            return Verdict(0.5, {**self._name(), "reason": "the completions are equal"})
        asked = [
            self._ask(prompt, *texts, order, sample)
            for order, texts in self._orders(completion_a, completion_b)
            for sample in range(self.settings.samples)
        ]
        answers = await _all(asked)
        p = self._combined(answers)
        return Verdict(p, self._record(answers, p), _total(answers))

    def keys(self, prompt: Prompt, completion_a: str, completion_b: str) -> list[str]:
        """The cache's keys of every question about one pair."""
        return [
            self._key(prompt, *texts, sample)
            for _, texts in self._orders(completion_a, completion_b)
            for sample in range(self.settings.samples)
        ]

    def _orders(self, a: str, b: str) -> list[tuple[str, tuple[str, str]]]:
        orders = [("ab", (a, b)), ("ba", (b, a))]
        return orders if self.settings.both_orders else orders[:1]

    def _combined(self, answers: Sequence[_Answer]) -> float | None:
        # All of a pair's replies by their log-probabilities, or none: the two do not mix
        soft = all(a.p is not None for a in answers if a.verdict is not None)
        shown = _mean([_chance(a, soft=soft) for a in answers if a.order == "ab"])
        if not self.settings.both_orders:
            return shown
        swapped = _mean([_chance(a, soft=soft) for a in answers if a.order == "ba"])
        how = self.settings.on_disagreement
        if soft and shown is not None and swapped is not None:
            agreed = parsing.both_orders(shown, swapped, "abstain") is not None
            if agreed or how == "average":
                return logprobs.both_orders(shown, swapped)
        return parsing.both_orders(shown, swapped, "tie" if how == "tie" else "abstain")

    def _record(self, answers: Sequence[_Answer], p: float | None) -> dict[str, Any]:
        replies = [
            {"order": a.order, "reply": a.text[:LONGEST_KEPT], "verdict": a.verdict}
            | ({} if a.p is None else {"p": a.p})
            for a in answers
        ]
        record = {**self._name(), "replies": replies, "p": p}
        if p is None:
            unread = any(a.verdict is None for a in answers)
            record["reason"] = "no verdict to be read" if unread else "the orders disagree"
        return record

    def _name(self) -> dict[str, Any]:
        settings, form = self.settings, self._forms[self._form]
        return {
            "name": settings.model,
            "version": f"{settings.template}/{templates.VERSION}",
            "prompt_hash": templates.prompt_hash(
                settings.template, self.criteria, structured=form[0], guard=settings.guard
            ),
        }

    async def _ask(
        self, prompt: Prompt, first: str, second: str, order: str, sample: int
    ) -> _Answer:
        key = self._key(prompt, first, second, sample)
        kept = self._cache.get(key)
        if kept is not None:
            return _Answer(order, kept["text"], kept["verdict"], kept.get("p"), {"cached": 1})
        reply = await self._patiently(prompt, first, second, sample)
        verdict = parsing.read_verdict(reply.text)
        p = logprobs.chance_of_first(reply.logprobs, verdict) if self.settings.logprobs else None
        self._cache[key] = {"text": reply.text[:LONGEST_KEPT], "verdict": verdict, "p": p}
        spent = {
            "calls": 1.0,
            "tokens_in": float(reply.tokens_in),
            "tokens_out": float(reply.tokens_out),
            "cost": self._cost(reply.tokens_in, reply.tokens_out),
        }
        if self.settings.logprobs and verdict is not None and p is None:
            spent[NO_LOGPROBS] = 1.0
        return _Answer(order, reply.text, verdict, p, spent)

    def _key(self, prompt: Prompt, first: str, second: str, sample: int) -> str:
        s = self.settings
        how: list[Any] = [
            s.base_url,
            s.model,
            s.temperature,
            s.max_tokens,
            s.structured,
            s.guard,
            sample,
        ]
        if s.logprobs:
            how.append("logprobs")
        what = [templates.VERSION, self.criteria, prompt, first, second]
        known = json.dumps([how, what], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()

    async def _patiently(self, prompt: Prompt, first: str, second: str, sample: int) -> Reply:
        pause = FIRST_PAUSE
        for tries in range(1, TRIES_WHEN_BUSY + 1):
            try:
                async with self._gate:
                    return await self._once(prompt, first, second, sample)
            except TroubleError as error:
                wait = error.retry_after if error.retry_after is not None else pause
                most = TRIES_WHEN_BUSY if error.busy else TRIES
                if tries >= most or wait > LONGEST_PAUSE:
                    raise
                self._gate.slow_down(wait if error.retry_after is not None else 0.0)
                await asyncio.sleep(wait * random.uniform(1.0, 1.3))
                pause = min(LONGEST_PAUSE, 2 * pause)
        raise AssertionError("unreachable")

    async def _once(self, prompt: Prompt, first: str, second: str, sample: int) -> Reply:
        while True:
            at = self._form
            structured, options = self._forms[at]
            messages = templates.messages(
                prompt,
                first,
                second,
                self.criteria,
                structured=structured,
                guard=self.settings.guard,
            )
            more = {"seed": sample} if sample else {}
            try:
                reply = await self._paid(messages, structured, {**options, **more})
            except BadRequestError as error:
                if at == self._form and (self._proven or at == len(self._forms) - 1):
                    raise RefusedPairError(str(error)) from None
                self._form = max(self._form, at + 1)  # the next simpler form of the question
                continue
            self._proven = True
            self._gate.went_well()
            return reply

    async def _paid(
        self, messages: list[dict[str, str]], structured: bool, options: dict[str, Any]
    ) -> Reply:
        """Ask within the budget: what is under way is counted as if it were spent."""
        asked = sum(len(turn["content"]) for turn in messages) // 4
        expected = self._cost(asked, self._tokens_out)
        budget = self.settings.budget
        if budget is not None and self.cost + self._reserved + expected > budget:
            raise StoppedError(f"the budget of ${budget:g} is used up")
        self._reserved += expected
        try:
            reply = await self._endpoint.ask(messages, structured=structured, options=options)
        finally:
            self._reserved -= expected
        self.cost += self._cost(reply.tokens_in, reply.tokens_out)
        self._tokens_out += 0.1 * (reply.tokens_out - self._tokens_out)
        return reply

    def _cost(self, tokens_in: float, tokens_out: float) -> float:
        settings = self.settings
        return (tokens_in * settings.price_in + tokens_out * settings.price_out) / 1e6


def _forms(settings: Settings) -> list[tuple[bool, dict[str, Any]]]:
    """Forms of a request, from the one that says most to the one that every server takes."""
    most = settings.max_tokens
    usual = {"temperature": settings.temperature, "max_tokens": most}
    newer = {"max_completion_tokens": most}
    forms: list[tuple[bool, dict[str, Any]]] = [(False, usual), (False, newer)]
    if settings.structured:
        forms = [(True, usual), (True, newer), *forms]
    # An endpoint that gives no log-probabilities may refuse to be asked for them
    more = [(form, {**options, **logprobs.ASKED}) for form, options in forms]
    return [*(more if settings.logprobs else []), *forms, (False, {})]


async def _all(asked: list[Any]) -> list[_Answer]:
    """Every answer; the first error ends the other questions of the same pair."""
    if len(asked) == 1:
        return [await asked[0]]
    tasks = [asyncio.ensure_future(question) for question in asked]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _chance(answer: _Answer, *, soft: bool) -> float | None:
    return answer.p if soft else parsing.chance_of_first(answer.verdict)


def _mean(chances: Sequence[float | None]) -> float | None:
    """Mean over samples; None where not even half of them can be read."""
    read = [chance for chance in chances if chance is not None]
    return sum(read) / len(read) if 2 * len(read) > len(chances) else None


def _total(answers: Sequence[_Answer]) -> dict[str, float]:
    total: dict[str, float] = {}
    for answer in answers:
        for name, value in answer.spent.items():
            total[name] = total.get(name, 0.0) + value
    return total


class Blocking:
    """The judge as a plain function, one pair at a time; closed when it is thrown away."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._judge = self._runner.run(_made(settings))
        self.close = weakref.finalize(self, _close, self._runner, self._judge)

    def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        """p; None where it abstains or the endpoint does not take the pair.

        Raises:
            TroubleError, StoppedError: as :class:`LLMJudge`.
        """
        try:
            return self._runner.run(_asked(self._judge, prompt, completion_a, completion_b)).p
        except RefusedPairError:
            return None


async def _made(settings: Settings) -> LLMJudge:
    return LLMJudge(settings)


async def _asked(judge: LLMJudge, prompt: Prompt, a: str, b: str) -> Verdict:
    return await judge(prompt, a, b)


def _close(runner: asyncio.Runner, judge: LLMJudge) -> None:
    runner.run(judge.close())
    runner.close()
