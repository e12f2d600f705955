"""Entropy of a policy's answers to a prompt, by Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activedpo.decoding import decode
from activedpo.generation import Engine, Progress, generate
from activedpo.loading import Policy
from activedpo.packing import Row
from activedpo.scoring import score_rows
from activedpo.types import Completion, Prompt


def prompt_entropy(
    policy: Policy,
    prompts: Sequence[Prompt],
    n: int = 16,
    per_token: bool = False,
    seed: int = 0,
    *,
    max_new_tokens: int = 128,
    max_rows: int | None = None,
    progress: Progress | None = None,
    engine: Engine = decode,
) -> np.ndarray:
    """H(x) ≈ −(1/N) Σ_n log π_θ(y_n | x), y_n ~ π_θ(· | x) at T = 1 (arXiv 2402.08114, eq. 6).

    The log-probs are those that sampling computed anyway: no further pass.

    Args:
        n: samples a prompt.
        per_token: divide each sample's sum by its tokens (end token counted), so that long
            answers do not count as uncertain for their length alone.
        max_new_tokens: where samples are cut; the sum is over what was written.
        progress: called with (samples done, samples in all).

    Returns:
        (n_prompts,) float64 in nats, ≥ 0.
    """
    samples = generate(
        policy,
        prompts,
        n,
        max_new_tokens,
        1.0,
        seed=seed,
        max_rows=max_rows,
        progress=progress,
        engine=engine,
    )
    values = [
        _mean_surprise(policy, prompt, completions, per_token)
        for prompt, completions in zip(prompts, samples, strict=True)
    ]
    return np.array(values, dtype=np.float64)


def _mean_surprise(
    policy: Policy, prompt: Prompt, completions: list[Completion], per_token: bool
) -> float:
    logp = [c.logp for c in completions]
    if None in logp:
        logp = _scored(policy, prompt, completions)
    sums = -np.array(logp, dtype=np.float64)
    lengths = np.array([len(c.tokens) + c.finished for c in completions])
    return float(np.mean(sums / lengths if per_token else sums))


def _scored(policy: Policy, prompt: Prompt, completions: list[Completion]) -> list[float | None]:
    """By a pass of their own, where an engine gives no log-probs."""
    from activedpo.encoding import encode_prompt, end_token

    head, end = encode_prompt(policy, prompt), end_token(policy, prompt)
    ended = tuple(c.tokens + (end,) * c.finished for c in completions)
    return [float(x) for x in score_rows(policy, [Row(head, ended)]).logp[0]]
