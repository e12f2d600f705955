"""What combines with any strategy: masks of what may be chosen, and labels that need no person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activedpo.acquisition.base import sigmoid
from activedpo.types import Pair, Scores

_GRAM = 3


def surprise(scores: Scores) -> np.ndarray:
    """(n,) −log π_θ per token over both completions, in nats: the log of the pair's perplexity."""
    tokens = np.maximum(1, scores.tokens_a + scores.tokens_b)
    found: np.ndarray = -(scores.logp_a + scores.logp_b) / tokens
    return found


def keep_fluent(surprise: np.ndarray, low: float, high: float) -> np.ndarray:
    """Perplexity pruning: (n,) bool, False for the tails.

    Pairs whose `surprise` lies below the quantile `low` (text that repeats itself) or above `high`
    (noise) are to be left out. NaN, a pair that was not measured, is in neither tail.
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"quantiles must be 0 <= low <= high <= 1, not {low} and {high}")
    known = np.isfinite(surprise)
    if not known.any():
        return np.ones(len(surprise), dtype=bool)
    bottom, top = np.quantile(surprise[known], [low, high])
    kept: np.ndarray = ~known | ((surprise >= bottom) & (surprise <= top))
    return kept


def keep_distinct(pairs: Sequence[Pair], threshold: float = 0.9) -> np.ndarray:
    """Near-duplicate removal: (n,) bool, False where a pair's two completions are too alike to
    compare, or where both are the same texts as an earlier pair's.

    Alike: Jaccard similarity of their word trigrams (of words, for short texts) above `threshold`.
    """
    keep = np.ones(len(pairs), dtype=bool)
    seen: set[frozenset[str]] = set()
    for index, pair in enumerate(pairs):
        both = frozenset(
            " ".join(text.lower().split()) for text in (pair.completion_a, pair.completion_b)
        )
        alike = jaccard(pair.completion_a, pair.completion_b) > threshold
        keep[index] = len(both) == 2 and not alike and both not in seen
        seen.add(both)
    return keep


def jaccard(a: str, b: str) -> float:
    """|A ∩ B| / |A ∪ B| of the texts' word trigrams, or words where one has fewer than three."""
    words = [text.lower().split() for text in (a, b)]
    size = _GRAM if min(map(len, words)) >= _GRAM else 1
    first, second = ({tuple(w[i : i + size]) for i in range(len(w) - size + 1)} for w in words)
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def audit(n: int, m: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of the share of a batch of m that is drawn at random from a whole pool of n.

    Drawn before any pruning, ⌈fraction · m⌉ of them, so that figures on it are unbiased.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], not {fraction}")
    count = int(np.ceil(fraction * min(m, n)))
    return rng.permutation(n)[:count].astype(np.int64)


def confidence_gate(margins: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that the policy is so sure about that it labels them itself (arXiv 2402.09401).

    Args:
        margins: (n,) r̂(a) − r̂(b); 0 where both completions are the same.
        threshold: a probability in (0.5, 1].

    Returns:
        (indices with σ(|margin|) ≥ threshold, their pseudo-labels p of completion a, 0 or 1).
        Mark them as such: they are the policy's opinion, and no evidence about it.
    """
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold is a probability in (0.5, 1], not {threshold}")
    sure = sigmoid(np.abs(margins)) >= threshold
    indices = np.flatnonzero(sure).astype(np.int64)
    return indices, (margins[indices] > 0).astype(np.float64)
