"""How good a policy is, and whether it is still itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from activedpo.oracles import Oracle
from activedpo.types import Completion, Prompt, Scores

if TYPE_CHECKING:
    from activedpo.loading import Policy
    from activedpo.scoring import Reference

Progress = Callable[[int, int], None]

Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""

COLLAPSED_DISTINCT, COLLAPSED_REPETITION = 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of n with its 95 % Wilson interval; NaN where n = 0."""

    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """Wins against a reference, a tie as half a win, with the 95 % Wilson interval."""

    rate: float
    low: float
    high: float
    n: int
    wins: int
    ties: int
    losses: int
    abstained: int


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """Of a set of completions: means over texts, words split at white space.

    `distinct_1`, `distinct_2`: different n-grams / n-grams over all texts (Li et al. 2016).
    `repetition`: share of a text's 4-grams that it had before. `collapsed`: one of them says that
    the policy repeats itself.
    """

    characters: float
    words: float
    distinct_1: float
    distinct_2: float
    repetition: float
    collapsed: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A policy against π_0 on prompts: see `evaluate`."""

    win_rate: WinRate | None
    kl_per_token: float
    tokens: float
    text: TextStatistics
    reference_text: TextStatistics
    ours: list[Completion]
    theirs: list[Completion]


def wilson(wins: float, n: int, z: float = Z95) -> Rate:
    """Share wins / n with Wilson's score interval (1927); wins may be halved by ties."""
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    share = wins / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Rate(share, max(0.0, middle - half), min(1.0, middle + half), n)


def win_rate(
    judge: Oracle,
    prompts: Sequence[Prompt],
    ours: Sequence[str],
    theirs: Sequence[str],
    progress: Progress | None = None,
) -> WinRate:
    """Lets a judge compare ours with theirs, each pair in both orders.

    The two verdicts are averaged, so a judge that goes by the place makes ties and no wins. A pair
    that the judge abstains from in one order or both is left out and counted.
    """
    if not len(prompts) == len(ours) == len(theirs):
        raise ValueError(
            f"prompts ({len(prompts)}), ours ({len(ours)}) and theirs ({len(theirs)}) must match"
        )
    verdicts: list[float | None] = []
    for prompt, mine, other in zip(prompts, ours, theirs, strict=True):
        verdicts.append(both_orders(judge, prompt, mine, other))
        if progress:
            progress(len(verdicts), len(prompts))
    decided = [verdict for verdict in verdicts if verdict is not None]
    wins = sum(verdict > 0.5 for verdict in decided)
    ties = sum(verdict == 0.5 for verdict in decided)
    share = wilson(wins + ties / 2, len(decided))
    return WinRate(
        rate=share.rate,
        low=share.low,
        high=share.high,
        n=share.n,
        wins=wins,
        ties=ties,
        losses=len(decided) - wins - ties,
        abstained=len(verdicts) - len(decided),
    )


def both_orders(judge: Oracle, prompt: Prompt, a: str, b: str) -> float | None:
    """p that a is the better one, asked both ways round; None where the judge abstains."""
    if a == b:
        return 0.5
    forward, backward = judge(prompt, a, b), judge(prompt, b, a)
    if forward is None or backward is None:
        return None
    return (forward + 1 - backward) / 2


def reward_accuracy(scores: Scores, p: Sequence[float]) -> Rate:
    """Share of labels that the margin has the right way round; ties (p = ½) are left out.

    A margin of 0 says nothing and counts half, so an untrained policy has ½.
    """
    labels = np.asarray(p, dtype=np.float64)
    if labels.shape != scores.margin.shape:
        raise ValueError(f"p must have shape {scores.margin.shape}, not {labels.shape}")
    decided = labels != 0.5
    agreement = np.sign(scores.margin[decided]) * np.sign(labels[decided] - 0.5)
    return wilson(float(((agreement + 1) / 2).sum()), int(decided.sum()))


def kl_per_token(scores: Scores) -> float:
    """Estimate of KL(π_θ ‖ π_0) per token, in nats, from pairs that π_θ itself wrote.

    Σ [log π_θ(y|x) − log π_0(y|x)] / Σ tokens over both completions of all pairs.
    """
    gain = (scores.logp_a - scores.ref_logp_a + scores.logp_b - scores.ref_logp_b).sum()
    tokens = (scores.tokens_a + scores.tokens_b).sum()
    return float(gain / tokens) if tokens else math.nan


def text_statistics(texts: Sequence[str]) -> TextStatistics:
    """Lengths, diversity and repetition of completions."""
    if not texts:
        return TextStatistics(math.nan, math.nan, math.nan, math.nan, math.nan, False)
    words = [text.split() for text in texts]
    one, two = _distinct(words, 1), _distinct(words, 2)
    repeated = float(np.mean([_repeated(tokens) for tokens in words]))
    return TextStatistics(
        characters=float(np.mean([len(text) for text in texts])),
        words=float(np.mean([len(tokens) for tokens in words])),
        distinct_1=one,
        distinct_2=two,
        repetition=repeated,
        collapsed=repeated > COLLAPSED_REPETITION or two < COLLAPSED_DISTINCT,
    )


def evaluate(
    policy: Policy,
    prompts: Sequence[Prompt],
    judge: Oracle | None = None,
    reference: Policy | str | None = None,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.25,
    seed: int = 0,
    theirs: Sequence[Completion] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compares a policy with π_0 on prompts that it was not trained on.

    Args:
        judge: who compares; None: no win-rate.
        reference: as in `score_pairs`.
        temperature: of the samples; 0.25 as in arXiv 2402.08114.
        theirs: completions of the reference from an earlier evaluation, to spare their making.
        progress: called with (steps done, steps in all).

    Returns:
        `kl_per_token` is of these samples, so at their temperature.
    """
    from activedpo.generation import generate
    from activedpo.scoring import resolve_reference

    tick = _shifted(progress, 3 * len(prompts))
    base = resolve_reference(policy, reference)

    def sampled(model: Policy, place: int) -> list[Completion]:
        made = generate(
            model,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            progress=tick(place),
        )
        return [completions[0] for completions in made]

    ours = sampled(policy, 0)
    if theirs is None:
        with base.active() as model:
            theirs = sampled(model, 1)
    scores = _against(policy, base, prompts, ours, tick(2))
    mine, other = [c.text for c in ours], [c.text for c in theirs]
    return Evaluation(
        win_rate=None if judge is None else win_rate(judge, prompts, mine, other),
        kl_per_token=scores[0],
        tokens=scores[1],
        text=text_statistics(mine),
        reference_text=text_statistics(other),
        ours=ours,
        theirs=list(theirs),
    )


def _against(
    policy: Policy,
    base: Reference,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    progress: Progress | None,
) -> tuple[float, float]:
    """KL per token of sampled completions, and their mean tokens."""
    from activedpo.encoding import encode_prompt, end_token
    from activedpo.packing import Row
    from activedpo.scoring import score_rows

    rows = [
        Row(encode_prompt(policy, prompt), (c.tokens + (end_token(policy, prompt),) * c.finished,))
        for prompt, c in zip(prompts, completions, strict=True)
    ]
    if not rows:
        return math.nan, math.nan
    ours = np.concatenate(score_rows(policy, rows, progress=progress).logp)
    with base.active() as model:
        theirs = np.concatenate(score_rows(model, rows).logp)
    tokens = np.array([row.predicted for row in rows])
    return float((ours - theirs).sum() / tokens.sum()), float(tokens.mean())


def _shifted(progress: Progress | None, total: int) -> Callable[[int], Progress | None]:
    """Progress of three parts of equal size as one."""

    def part(number: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, _: progress(number * (total // 3) + done, total)

    return part


def _distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(words[i : i + n]) for words in texts for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def _repeated(words: Sequence[str], n: int = 4) -> float:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
