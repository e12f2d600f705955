"""What every acquisition function gets, and what it gives back.

A strategy is one file with one `Strategy`. It gives each pair a value; the largest are wanted
most. Checking, ties, cold start and cutting to m are done once, in `acquire`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from activedpo.types import Scores


@dataclass(frozen=True, slots=True)
class Past:
    """What was bought so far; k labels.

    Args:
        features: (k, 2, d) of the labelled pairs, made as the pool's.
        p: (k,) probability that completion a is the better one.
    """

    features: np.ndarray
    p: np.ndarray

    def __len__(self) -> int:
        return len(self.p)


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool to choose from; n pairs.

    Args:
        size: n.
        m: how many are wanted.
        rng: the only source of randomness.
        scores: log-probs and margins, arrays of shape (n,); None where the strategy needs none.
        entropy: (n,) entropy of each pair's prompt, in nats; None where not given.
        shortlist: pairs that a first criterion lets through to a second, as a multiple of m.
        features: (n, 2, d) float64 of both completions of each pair, of the kind that the strategy
            asks for; None where it asks for none.
        past: the labels so far; None before the first.
        prompts: (n,) equal numbers for pairs of one prompt; None: each has its own.
    """

    size: int
    m: int
    rng: np.random.Generator
    scores: Scores | None = None
    entropy: np.ndarray | None = None
    shortlist: float = 4.0
    features: np.ndarray | None = None
    past: Past | None = None
    prompts: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """An acquisition function.

    Args:
        name: how it is asked for.
        rank: pool → values of shape (n,), larger is wanted more; equal values are ties, which
            the seed breaks.
        summary: one sentence for people.
        cost: extra passes a pair, in words.
        needs_scores: reads `pool.scores`.
        needs_entropy: reads `pool.entropy`.
        needs_margin: ranks by margins, so it is cold while all of them are 0.
        features: kind of features it reads: "hidden" (mean last hidden state of a completion),
            "gradient" (projected gradient of a completion's implicit reward), or "" for none.
        needs_past: learns from labels, so it is cold before the first.
    """

    name: str
    rank: Callable[[Pool], np.ndarray]
    summary: str
    cost: str
    needs_scores: bool = False
    needs_entropy: bool = False
    needs_margin: bool = False
    features: str = ""
    needs_past: bool = False


def margins(pool: Pool) -> np.ndarray:
    """|r(a) − r(b)|, shape (n,)."""
    absolute: np.ndarray = np.abs(signed_margins(pool))
    return absolute


def signed_margins(pool: Pool) -> np.ndarray:
    """r(a) − r(b), shape (n,)."""
    assert pool.scores is not None  # checked by `acquire`
    return pool.scores.margin


def scaled(margins: np.ndarray) -> np.ndarray:
    """Margins of root mean square 1; zeros stay zeros."""
    size = float(np.sqrt(np.square(margins).mean()))
    at_one: np.ndarray = margins / size if size else margins
    return at_one


def entropies(pool: Pool) -> np.ndarray:
    """H of each pair's prompt, shape (n,)."""
    assert pool.entropy is not None  # checked by `acquire`
    return pool.entropy


def completions(pool: Pool) -> np.ndarray:
    """Features of both completions, shape (n, 2, d)."""
    assert pool.features is not None  # checked by `acquire`
    return pool.features


def differences(pool: Pool) -> np.ndarray:
    """φ(a) − φ(b), shape (n, d), scaled to a mean square length of 1."""
    both = completions(pool)
    scaled: np.ndarray = (both[:, 0] - both[:, 1]) / difference_scale(both)
    return scaled


def difference_scale(both: np.ndarray) -> float:
    """Root mean square length of φ(a) − φ(b): makes regularisers mean the same for all models."""
    lengths = np.square(both[:, 0] - both[:, 1]).sum(1)
    return float(np.sqrt(lengths.mean())) or 1.0


def past_differences(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """(φ(a) − φ(b) of the labelled pairs (k, d) on the pool's scale, p (k,))."""
    if pool.past is None or not len(pool.past):
        width = completions(pool).shape[2]
        return np.zeros((0, width)), np.zeros(0)
    both = pool.past.features
    return (both[:, 0] - both[:, 1]) / difference_scale(completions(pool)), pool.past.p


def in_order(picks: list[int], rest: np.ndarray) -> np.ndarray:
    """Values (n,) that rank `picks` first in their order, and all others by `rest` behind them."""
    # Ranks, not values: any scale of `rest` stays below the picks; its ties stay ties.
    values = np.unique(rest, return_inverse=True)[1].astype(np.float64)
    top = len(rest) + len(picks)
    for place, index in enumerate(picks):
        values[index] = top - place
    return values


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x), without overflow."""
    out: np.ndarray = 0.5 * (1 + np.tanh(0.5 * np.asarray(x, dtype=np.float64)))
    return out
