"""Completions of prompts: sampled, repeatable, with their token ids and log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from activedpo.decoding import Request, decode
from activedpo.encoding import check_ids, encode_prompt, end_token
from activedpo.errors import ContextOverflow, EmptyPrompt, InvalidPrompt
from activedpo.loading import Policy
from activedpo.sampling import Sample, Sampling
from activedpo.types import Completion, Pair, Prompt, Tokens

Progress = Callable[[int, int], None]


class Engine(Protocol):
    """Whatever samples token ids from token ids: `decode` here, vLLM in `vllm_engine`."""

    def __call__(
        self,
        policy: Policy,
        requests: Sequence[Request],
        sampling: Sampling,
        stops: Sequence[frozenset[int]],
        rows: int | None = None,
        on_sample: Callable[[int], None] | None = None,
    ) -> list[list[Sample]]: ...


def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    n: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    *,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
    max_rows: int | None = None,
    progress: Progress | None = None,
    engine: Engine = decode,
) -> list[list[Completion]]:
    """Samples n completions of each prompt.

    Args:
        max_new_tokens: where a completion is cut (`finished=False`); the context cuts earlier
            where prompt and completion would not fit it.
        temperature: 0 takes the most likely token.
        top_p, top_k: None: the whole distribution.
        seed: the same seed gives the same completions, however they are batched.
        max_rows: sequences in flight; default: what a share of the memory holds.
        progress: called with (completions done, completions in all).
        engine: what samples; default: the loop in this process.

    Returns:
        A list (per prompt) of lists of n `Completion`.

    Raises:
        EmptyPrompt, InvalidPrompt, ContextOverflow: each names the prompt. OutOfMemory.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed)
    encoded = encode_prompts(policy, prompts)
    return _sampled(policy, prompts, encoded, n, sampling, max_rows, progress, engine)


def generate_pairs(
    policy: Policy,
    prompts: Sequence[Prompt],
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    *,
    top_p: float | None = None,
    top_k: int | None = None,
    seed: int = 0,
    max_rows: int | None = None,
    progress: Progress | None = None,
    engine: Engine = decode,
) -> list[Pair]:
    """Two completions of each prompt, as pairs; arguments as of `generate`.

    Returns:
        One `Pair` a prompt, in order, with token ids, finished flags, and where the drawn
        distribution was the policy's own, its log-probs. `progress` counts pairs.
    """
    sampling = Sampling(max_new_tokens, temperature, top_p, top_k, seed)
    encoded = encode_prompts(policy, prompts)
    counted = None if progress is None else _in_pairs(progress, len(prompts))
    made = _sampled(policy, prompts, encoded, 2, sampling, max_rows, counted, engine)
    return [
        _pair(prompt, tokens, a, b)
        for prompt, tokens, (a, b) in zip(prompts, encoded, made, strict=True)
    ]


def encode_prompts(policy: Policy, prompts: Sequence[Prompt]) -> list[Tokens]:
    """Token ids of prompts, each of which leaves room for at least one token."""
    if isinstance(prompts, str):
        raise InvalidPrompt("prompts must be a list: wrap the single prompt in [ ]")
    encoded = []
    for index, prompt in enumerate(prompts):
        try:
            tokens = encode_prompt(policy, prompt)
        except (EmptyPrompt, InvalidPrompt) as error:
            raise type(error)(f"prompt {index}: {error}") from error
        check_ids(policy, tokens)
        if len(tokens) >= policy.context:
            raise ContextOverflow(index, len(tokens) + 1, policy.context, what="prompt")
        encoded.append(tokens)
    return encoded


def stop_tokens(policy: Policy, prompt: Prompt) -> frozenset[int]:
    """Ids that end a completion: the canonical end token and those the model's maker lists."""
    listed = policy.base.generation_config.eos_token_id
    more = [listed] if isinstance(listed, int) else list(listed or ())
    return frozenset({end_token(policy, prompt), *more})


def _sampled(
    policy: Policy,
    prompts: Sequence[Prompt],
    encoded: Sequence[Tokens],
    n: int,
    sampling: Sampling,
    max_rows: int | None,
    progress: Progress | None,
    engine: Engine,
) -> list[list[Completion]]:
    kinds = {isinstance(prompt, str): prompt for prompt in prompts}
    stops = {kind: stop_tokens(policy, prompt) for kind, prompt in kinds.items()}
    ends = {kind: end_token(policy, prompt) for kind, prompt in kinds.items()}
    requests = [
        Request(tokens, n, min(sampling.max_new_tokens, policy.context - len(tokens)))
        for tokens in encoded
    ]
    tick = None if progress is None else _ticks(progress, n * len(requests))
    plain = [isinstance(prompt, str) for prompt in prompts]
    made = engine(policy, requests, sampling, [stops[kind] for kind in plain], max_rows, tick)
    return [
        [_completion(policy, sample, ends[kind]) for sample in samples]
        for kind, samples in zip(plain, made, strict=True)
    ]


def _completion(policy: Policy, sample: Sample, end: int) -> Completion:
    text = policy.tokenizer.decode(list(sample.tokens), skip_special_tokens=True)
    # Ended by another token than the canonical one, the sum is not the canonical sequence's.
    logp = sample.logp if sample.stop in (None, end) else None
    return Completion(str(text), sample.tokens, sample.stop is not None, logp)


def _pair(prompt: Prompt, tokens: Tokens, a: Completion, b: Completion) -> Pair:
    return Pair(
        prompt=prompt,
        completion_a=a.text,
        completion_b=b.text,
        finished_a=a.finished,
        finished_b=b.finished,
        tokens_a=a.tokens,
        tokens_b=b.tokens,
        prompt_tokens=tokens,
        logp_a=a.logp,
        logp_b=b.logp,
    )


def _ticks(progress: Progress, total: int) -> Callable[[int], None]:
    done = 0

    def tick(_: int) -> None:
        nonlocal done
        done = min(done + 1, total)  # a start with fewer rows after OOM counts from where it was
        progress(done, total)

    return tick


def _in_pairs(progress: Progress, total: int) -> Progress:
    shown = 0

    def report(done: int, _: int) -> None:
        nonlocal shown
        if done // 2 > shown:
            shown = done // 2
            progress(shown, total)

    return report
