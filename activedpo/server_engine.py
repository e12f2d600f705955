"""Sampling by an OpenAI-compatible server behind the same interface as `decoding.decode`.

    engine = ServerEngine(Address("http://gpu:8000/v1"), "HuggingFaceTB/SmolLM2-135M-Instruct")
    pairs = activedpo.generate_pairs(policy, prompts, engine=engine)

The policy is still needed: its tokenizer makes the ids that are sent and read, and `score_pairs`
makes the log-probs that are compared with a reference. Token ids are taken from the server where it
gives them (vLLM: `return_token_ids`, or `return_tokens_as_token_ids`); a text alone is tokenised
anew, counted in `told.retokenised`, and has no log-prob of the server's, since what it sampled may
have been other tokens.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from activedpo.decoding import Request
from activedpo.encoding import check_ids
from activedpo.errors import ModelMismatch
from activedpo.loading import Policy
from activedpo.sampling import Sample, Sampling
from activedpo.server import Address, Server, ServerRefuses


@dataclass
class Told:
    """How completions came: samples in all, and those whose ids had to be made from their text."""

    samples: int = 0
    retokenised: int = 0


class ServerEngine:
    """Samples by a server.

    Args:
        address: where it is.
        model: what it calls the policy, or its base where there is an ``adapter``.
        adapter: (name, folder as the server sees it) of a LoRA adapter to load first.
        others: begins the names of adapters that are let go when ``adapter`` is loaded.

    Raises:
        ServerAway: it does not answer. ServerRefuses, ModelNotFound, ModelMismatch: it is no use
            to ask again; each says what to do.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        adapter: tuple[str, str] | None = None,
        others: str | None = None,
    ) -> None:
        self.address, self.model = address, model
        self.adapter, self.others = adapter, others
        self.told = Told()

    def __call__(
        self,
        policy: Policy,
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[frozenset[int]],
        rows: int | None = None,  # noqa: ARG002 - the server decides
        on_sample: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]:
        """Samples all requests; arguments and answer as of `decoding.decode`."""
        return asyncio.run(self._all(policy, requests, sampling, stops, on_sample))

    async def _all(
        self,
        policy: Policy,
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[frozenset[int]],
        on_sample: Callable[[int], None] | None,
    ) -> list[list[Sample]]:
        server = Server(self.address)
        try:
            name = await self._ready(server)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        _Asked(self, server, name, policy, sampling, stops[n], n, on_sample)(one)
                    )
                    for n, one in enumerate(requests)
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await server.close()
        return [task.result() for task in tasks]

    async def _ready(self, server: Server) -> str:
        """The name to ask for, once it is served."""
        await server.need(self.model)
        if self.adapter is None:
            return self.model
        name, folder = self.adapter
        await server.load_adapter(name, folder)
        if self.others is not None:
            for old in await server.models() or ():
                if old.startswith(self.others) and old != name:
                    await server.unload_adapter(old)
        return name


class _Asked:
    """One prompt's samples."""

    def __init__(
        self,
        engine: ServerEngine,
        server: Server,
        name: str,
        policy: Policy,
        sampling: Sampling,
        stops: frozenset[int],
        number: int,
        on_sample: Callable[[int], None] | None,
    ) -> None:
        self._engine, self._server, self._name = engine, server, name
        self._policy, self._sampling, self._stops = policy, sampling, stops
        self._number, self._on_sample = number, on_sample

    async def __call__(self, request: Request) -> list[Sample]:
        made: list[Sample] = []
        while len(made) < request.samples:  # some servers give one, however many are asked for
            missing = request.samples - len(made)
            reply = await self._server.complete(self._forms(request, missing, len(made)))
            choices = _choices(reply)[:missing]
            for choice in choices:
                made.append(self._sample(choice, request))
                if self._on_sample is not None:
                    self._on_sample(self._number)
        return made

    def _forms(self, request: Request, n: int, before: int) -> list[dict[str, Any]]:
        sampling = self._sampling
        plain: dict[str, Any] = {
            "model": self._name,
            "prompt": list(request.prompt),
            "n": n,
            "max_tokens": request.limit,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            # A stream of its own for each prompt, repeatable by the seed where the server can.
            "seed": (sampling.seed * 1_000_003 + 31 * self._number + before) % 2**31,
            "logprobs": 1,
        }
        full = plain | {
            "stop_token_ids": sorted(self._stops),
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
        }
        if sampling.top_k is None:
            return [full, plain]
        return [full | {"top_k": sampling.top_k}, plain | {"top_k": sampling.top_k}]

    def _sample(self, choice: dict[str, Any], request: Request) -> Sample:
        sent = choice.get("prompt_token_ids")
        if sent is not None and tuple(sent) != request.prompt:
            raise ModelMismatch(
                f"the server read prompt {self._number} as other tokens than were sent: is its "
                "model the project's base model?"
            )
        self._engine.told.samples += 1
        ids = _ids(choice)
        stopped = choice.get("finish_reason") == "stop"
        if ids is None:
            return self._from_text(str(choice.get("text") or ""), stopped, request.limit)
        if ids:
            check_ids(self._policy, tuple(ids))
        logp = _logp(choice, len(ids)) if self._sampling.is_policy else None
        if ids and ids[-1] in self._stops:
            return Sample(tuple(ids[:-1]), ids[-1], logp)
        if stopped:  # it keeps the end token, and with it that one's log-prob, to itself
            return Sample(tuple(ids), self._end, None)
        return Sample(tuple(ids), None, logp)

    def _from_text(self, text: str, stopped: bool, limit: int) -> Sample:
        self._engine.told.retokenised += 1
        ids = tuple(self._policy.tokenizer(text, add_special_tokens=False)["input_ids"])
        if ids and ids[-1] in self._stops:
            ids, stopped = ids[:-1], True
        if len(ids) > limit:
            ids, stopped = ids[:limit], False
        if not ids and not stopped:
            raise ServerRefuses("the server answers with neither token ids nor a text")
        return Sample(ids, self._end if stopped else None, None)

    @property
    def _end(self) -> int:
        eos = self._policy.tokenizer.eos_token_id
        return int(eos) if eos in self._stops else min(self._stops)


def _choices(reply: Any) -> list[dict[str, Any]]:
    found = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(c, dict) for c in found):
        raise ServerRefuses("what the server answers is no completion")
    return found


def _ids(choice: dict[str, Any]) -> list[int] | None:
    """The sampled token ids, where the server says them."""
    found = choice.get("token_ids")
    if isinstance(found, list) and all(type(token) is int for token in found):
        return found
    names = (choice.get("logprobs") or {}).get("tokens")
    if not isinstance(names, list) or not names:
        return None
    marked = [str(name).rpartition("token_id:") for name in names]
    if all(mark and not before and number.isdigit() for before, mark, number in marked):
        return [int(number) for _, _, number in marked]
    return None


def _logp(choice: dict[str, Any], count: int) -> float | None:
    """Sum of the tokens' log-probs, where there is one for each."""
    values = (choice.get("logprobs") or {}).get("token_logprobs")
    if not isinstance(values, list) or len(values) != count or count == 0:
        return None
    numbers = [value for value in values if isinstance(value, int | float)]
    total = math.fsum(numbers)
    return total if len(numbers) == count and math.isfinite(total) else None
