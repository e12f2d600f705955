"""The decode loop: prompts prefilled once for all their samples, finished rows replaced at once."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from activedpo.errors import OutOfMemory, ran_out_of_memory
from activedpo.loading import Policy
from activedpo.packing import can_pack, plain_logprobs
from activedpo.sampling import Sample, Sampling, choose
from activedpo.slots import SLACK, Prefix, SlotCache, next_logits, prefill, step
from activedpo.trainable import merged
from activedpo.types import Tokens

PREFILL_TOKENS = 2_048
"""Prompt tokens that are run at once."""

WORTH_MERGING = 1_024
"""Tokens to sample from which on an adapter is merged first."""

_CPU_CACHE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, how many samples of it, and after how many tokens they are cut."""

    prompt: Tokens
    samples: int
    limit: int


@dataclass(slots=True)
class _Ready:
    """A prefilled prompt whose samples wait for slots."""

    index: int
    prefix: Prefix
    logits: Tensor
    left: deque[int]


@dataclass(slots=True)
class _Row:
    """A sample in the making."""

    prompt: int
    sample: int
    limit: int
    stream: np.ndarray
    tokens: list[int] = field(default_factory=list)
    logp: float = 0.0


def decode(
    policy: Policy,
    requests: Sequence[Request],
    sampling: Sampling,
    stops: Sequence[frozenset[int]],
    rows: int | None = None,
    on_sample: Callable[[int], None] | None = None,
) -> list[list[Sample]]:
    """Samples all requests.

    Args:
        stops: for each request, the ids that end a completion.
        rows: sequences in flight; default: what a share of the memory holds. Halves by itself
            when memory runs out; the samples stay the same.
        on_sample: called with the number of the request whenever a sample of it is done.

    Returns:
        A list (per request) of lists (its samples).
    """
    if not requests:
        return []
    training = policy.model.training
    policy.model.eval()
    try:
        with torch.inference_mode():
            if not can_slot(policy):
                return _by_generate(policy, requests, sampling, stops, on_sample)
            width = max(len(r.prompt) + r.limit for r in requests)
            rows = rows or default_rows(policy, width)
            rows = min(rows, sum(r.samples for r in requests))
            if sum(r.samples * r.limit for r in requests) >= WORTH_MERGING:
                policy = merged(policy)
            return _with_retry(policy, requests, sampling, stops, rows, on_sample)
    finally:
        policy.model.train(training)


def default_rows(policy: Policy, width: int) -> int:
    """Rows whose keys and values fit a share of the memory, at most 64 (CPU) or 256."""
    config = policy.base.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_a_token = 2 * config.num_hidden_layers * heads * size * policy.dtype.itemsize
    memory, most = _CPU_CACHE_BYTES, 64
    if policy.device.type == "cuda":
        memory, most = torch.cuda.mem_get_info(policy.device)[0] // 3, 256
    return max(1, min(most, int(memory // (bytes_a_token * (width + SLACK)))))


def can_slot(policy: Policy) -> bool:
    """Whether this architecture decodes from slots with its own numbers; tried once."""
    if policy.slots is None:
        policy.slots = can_pack(policy) and _tried(policy)
        if not policy.slots:
            warnings.warn(
                f"{policy.base.config.model_type}: this architecture cannot refill rows; "
                "sampling with model.generate, which is slower and keeps no log-probs",
                stacklevel=2,
            )
    return policy.slots


def _tried(policy: Policy) -> bool:
    ids = [(5 * i * i + 3 * i + 1) % policy.vocabulary for i in range(9)]
    requests = [Request(tuple(ids[:6]), 1, 2), Request(tuple(ids[6:]), 2, 4)]
    tolerance = 1e-3 if policy.dtype in (torch.float32, torch.float64) else 0.1
    try:
        made = _Loop(policy, requests, Sampling(), [frozenset()] * 2, 2, None).run()
        for request, samples in zip(requests, made, strict=True):
            for sample in samples:
                expected = float(plain_logprobs(policy, request.prompt, sample.tokens).sum())
                if abs((sample.logp or 0.0) - expected) > tolerance * (1 + abs(expected)):
                    return False
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError):
        return False
    return True


def _with_retry(
    policy: Policy,
    requests: Sequence[Request],
    sampling: Sampling,
    stops: Sequence[frozenset[int]],
    rows: int,
    on_sample: Callable[[int], None] | None,
) -> list[list[Sample]]:
    while True:
        try:
            return _Loop(policy, requests, sampling, stops, rows, on_sample).run()
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            if rows == 1:
                raise OutOfMemory(
                    "not even one completion at a time fits the memory: lower max_new_tokens, "
                    "shorten the prompts, or use dtype='bfloat16' or a smaller model"
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows //= 2  # every sample has its own random stream: starting over gives the same ones


class _Loop:
    """State of one run: what waits, what is prefilled, what is in a slot, what is done."""

    def __init__(
        self,
        policy: Policy,
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[frozenset[int]],
        rows: int,
        on_sample: Callable[[int], None] | None,
    ) -> None:
        self.policy, self.requests, self.sampling, self.stops = policy, requests, sampling, stops
        self.on_sample = on_sample
        longest = max(len(r.prompt) + r.limit for r in requests)
        widest = max(len(r.prompt) for r in requests)
        self.cache = SlotCache(rows, longest, widest, policy.device)
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt), i))
        self.waiting = deque(order)
        self.ready: deque[_Ready] = deque()
        self.rows: list[_Row] = []
        self.done: list[list[Sample | None]] = [[None] * r.samples for r in requests]

    def run(self) -> list[list[Sample]]:
        while self.waiting or self.ready or self.rows:
            if self._worth_admitting():
                self._admit()
            if self.rows:
                self._step()
        return [[sample for sample in samples if sample is not None] for samples in self.done]

    def _worth_admitting(self) -> bool:
        # A few at a time: a prefill of one short prompt costs nearly as much as one of several.
        enough = max(1, self.cache.rows // 8)
        return bool(self.waiting or self.ready) and (not self.rows or self.cache.free >= enough)

    def _admit(self) -> None:
        while self.cache.free and (self.ready or self.waiting):
            if not self.ready:
                self._prefill()
            ready = self.ready[0]
            sample = ready.left.popleft()
            self._place(ready, sample)
            if not ready.left:
                self.ready.popleft()

    def _prefill(self) -> None:
        chosen: list[int] = []
        width = samples = 0
        while self.waiting and samples < self.cache.free:
            width = width or len(self.requests[self.waiting[0]].prompt)
            if chosen and (len(chosen) + 1) * width > PREFILL_TOKENS:
                break
            chosen.append(self.waiting.popleft())
            samples += self.requests[chosen[-1]].samples
        prefixes, states = prefill(self.policy, [self.requests[i].prompt for i in chosen])
        logits = next_logits(self.policy, states)
        for place, index in enumerate(chosen):
            left = deque(range(self.requests[index].samples))
            self.ready.append(_Ready(index, prefixes[place], logits[place : place + 1], left))

    def _place(self, ready: _Ready, sample: int) -> None:
        """Draws a sample's first token from the prompt's logits; it takes a slot if it goes on."""
        limit = self.requests[ready.index].limit
        stream = self.sampling.stream(ready.index, sample, limit + 1)
        row = _Row(ready.index, sample, limit, stream)
        uniform = torch.tensor(stream[:1], device=self.policy.device)
        token, logp = choose(ready.logits.clone(), uniform, self.sampling)
        if not self._took(row, int(token), float(logp)):
            self.cache.admit(ready.prefix)
            self.rows.append(row)

    def _step(self) -> None:
        tokens = torch.tensor([row.tokens[-1] for row in self.rows], device=self.policy.device)
        logits = step(self.policy, self.cache, tokens)
        drawn = np.array([row.stream[len(row.tokens)] for row in self.rows])
        uniforms = torch.from_numpy(drawn).to(self.policy.device)
        chosen, logps = choose(logits, uniforms, self.sampling)
        outcome = list(zip(chosen.tolist(), logps.tolist(), strict=True))
        ended = [n for n, row in enumerate(self.rows) if self._took(row, *outcome[n])]
        for n in reversed(ended):
            moved = self.cache.retire(n)
            self.rows[n] = self.rows[moved]
            self.rows.pop()

    def _took(self, row: _Row, token: int, logp: float) -> bool:
        """Books a drawn token; True where it ended the sample."""
        row.logp += logp
        stop = token if token in self.stops[row.prompt] else None
        if stop is None:
            row.tokens.append(token)
            if len(row.tokens) < row.limit:
                return False
        exact = row.logp if self.sampling.is_policy else None
        self.done[row.prompt][row.sample] = Sample(tuple(row.tokens), stop, exact)
        if self.on_sample:
            self.on_sample(row.prompt)
        return True


def _by_generate(
    policy: Policy,
    requests: Sequence[Request],
    sampling: Sampling,
    stops: Sequence[frozenset[int]],
    on_sample: Callable[[int], None] | None,
) -> list[list[Sample]]:
    """`model.generate`, prompt by prompt, for architectures without a plain key/value cache."""
    made = []
    for index, request in enumerate(requests):
        samples = [
            _cut(tokens, stops[index])
            for tokens in _generated(policy, request, index, sampling, stops[index])
        ]
        made.append(samples)
        for _ in samples if on_sample else ():
            on_sample(index)  # type: ignore[misc]
    return made


def _generated(
    policy: Policy, request: Request, index: int, sampling: Sampling, stops: frozenset[int]
) -> Iterator[list[int]]:
    devices = [policy.device] if policy.device.type == "cuda" else []
    greedy = sampling.temperature == 0.0
    drawn = (
        {}
        if greedy
        else {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            "top_k": sampling.top_k or 0,
        }
    )
    ids = torch.tensor([request.prompt] * request.samples, device=policy.device)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence([sampling.seed, index]).generate_state(1)[0]))
        output = policy.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=not greedy,
            max_new_tokens=request.limit,
            eos_token_id=sorted(stops),
            pad_token_id=policy.tokenizer.pad_token_id,
            **drawn,
        )
    yield from output[:, ids.shape[1] :].tolist()


def _cut(tokens: list[int], stops: frozenset[int]) -> Sample:
    """Up to the first stop; behind it are pads."""
    for place, token in enumerate(tokens):
        if token in stops:
            return Sample(tuple(tokens[:place]), token, None)
    return Sample(tuple(tokens), None, None)
