"""Acquisition: which pairs are worth a label.

No torch here: the web process lists the names. A file of this folder with a `STRATEGY` is one;
third parties add theirs by an entry point of the group `activedpo.acquisition` that names a
`Strategy`. See docs/strategies.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

import numpy as np

from activedpo.acquisition.base import Past, Pool, Strategy
from activedpo.acquisition.checks import check, pool_size
from activedpo.errors import PoolTooSmall, UnknownAcquisition
from activedpo.types import Scores


def _ours() -> dict[str, Strategy]:
    """Strategies by name: every module of this folder that has a `STRATEGY` holds one."""
    found = {}
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        if isinstance(one := getattr(module, "STRATEGY", None), Strategy):
            found[one.name] = one
    return found


STRATEGIES: dict[str, Strategy] = _ours()
"""The strategies of this package by name."""

COLD_STARTS = {"random": "random", "entropy": "entropy", "diverse": "diverse"}
"""What may stand in for a strategy that has nothing to go by yet, and the strategy that does it."""


def names() -> list[str]:
    """All known names, sorted: ours and those of installed plug-ins."""
    return sorted({*STRATEGIES, *_plugins()})


def strategy(name: str) -> Strategy:
    """The strategy of that name; raises UnknownAcquisition, which lists the known ones."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name in _plugins():
        return _plugins()[name]
    raise UnknownAcquisition(name, names())


def needs_scores(name: str) -> bool:
    """True where `acquire` reads the scores (so policy and reference have to be run)."""
    return strategy(name).needs_scores


def needs_entropy(name: str) -> bool:
    """True where `acquire` has to be given `entropy=`."""
    return strategy(name).needs_entropy


def needs_features(name: str) -> str:
    """The kind of `features=` that `acquire` has to be given: "hidden", "gradient", or ""."""
    return strategy(name).features


def needs_past(name: str) -> bool:
    """True where `acquire` learns from `past=`, and is cold without it."""
    return strategy(name).needs_past


def is_cold(scores: Scores) -> bool:
    """True while every margin is 0: π_θ = π_0, and ranking by margin would rank noise."""
    return bool(np.all(scores.margin == 0.0))


def acquire(
    name: str,
    scores: Scores | None,
    m: int | None,
    seed: int | np.random.Generator = 0,
    entropy: np.ndarray | None = None,
    *,
    cold_start: str = "random",
    shortlist: float = 4.0,
    size: int | None = None,
    features: np.ndarray | None = None,
    past: Past | None = None,
    prompts: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    ids: Sequence[str] | None = None,
) -> np.ndarray:
    """Ranks a pool and takes the m most wanted pairs.

    Args:
        name: a strategy out of `names()`.
        scores: of the pool, n pairs; None is fine for strategies that read none.
        m: how many; None ranks all n.
        seed: or a generator; decides ties, and all of `random`.
        entropy: (n,) entropy of each pair's prompt, for strategies that read it.
        cold_start: what is used while there is nothing to go by, as before the first training
            (all margins are 0: see `is_cold`) or the first label: a key of `COLD_STARTS`.
        shortlist: what a first criterion lets through to a second, as a multiple of m.
        size: n, where neither scores nor entropy nor features tell it.
        features: (n, 2, d) of both completions, of the kind `needs_features` says.
        past: features and labels bought so far, for strategies that learn from them.
        prompts: (n,) equal numbers for pairs of one prompt, where the pool holds several of one.
        keep: (n,) bool; the others are taken last, when nothing else is left.
        ids: names of the pairs for messages; default: their indices.

    Returns:
        (m,) int64 distinct indices into the pool, most wanted first.

    Raises:
        UnknownAcquisition, PoolTooSmall, InvalidScores (NaN, infinity, missing or misshapen).
    """
    n = pool_size(scores, entropy, features, size)
    count = n if m is None else m
    if not 0 <= count <= n:
        raise PoolTooSmall(f"m = {m} pairs are wanted out of a pool of {n}: m must be in 0..{n}")
    order = rank(
        name,
        scores,
        count,
        seed,
        entropy,
        cold_start=cold_start,
        shortlist=shortlist,
        size=n,
        features=features,
        past=past,
        prompts=prompts,
        keep=keep,
        ids=ids,
    )
    return order[:count]


def rank(
    name: str,
    scores: Scores | None,
    m: int,
    seed: int | np.random.Generator = 0,
    entropy: np.ndarray | None = None,
    *,
    cold_start: str = "random",
    shortlist: float = 4.0,
    size: int | None = None,
    features: np.ndarray | None = None,
    past: Past | None = None,
    prompts: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    ids: Sequence[str] | None = None,
) -> np.ndarray:
    """The whole pool in a strategy's order, (n,) int64: what `acquire` takes for m, then the rest.

    The rest replaces pairs that nobody can decide. Arguments as of `acquire`; m over n is n.
    """
    wanted = strategy(name)
    n = pool_size(scores, entropy, features, size)
    entropy = None if entropy is None else np.asarray(entropy, dtype=np.float64)
    features = None if features is None else np.asarray(features, dtype=np.float64)
    check(wanted, scores, entropy, features, past, n, ids)
    if _nothing_to_go_by(wanted, scores, past):
        wanted = _cold(cold_start)
        check(wanted, scores, entropy, features, past, n, ids)
    rng = np.random.default_rng(seed)
    ties = rng.random(n)
    kept = np.arange(n) if keep is None else np.flatnonzero(np.asarray(keep, dtype=bool))
    pool = Pool(n, m, rng, scores, entropy, shortlist, features, past, prompts)
    return _sorted(wanted, pool, kept, ties)


def _sorted(wanted: Strategy, pool: Pool, kept: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Order of the kept pairs by value, the others by chance behind them."""
    part = pool if len(kept) == pool.size else subset(pool, kept)
    values = wanted.rank(part) if part.size else np.zeros(0)
    first = kept[np.lexsort((ties[kept], -values))]
    others = np.setdiff1d(np.arange(pool.size), kept)
    return np.concatenate([first, others[np.argsort(ties[others])]]).astype(np.int64)


def subset(pool: Pool, kept: np.ndarray) -> Pool:
    """The pool of some of its pairs."""

    def cut(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[kept]

    scores = pool.scores
    if scores is not None:
        parts: dict[str, Any] = {name: cut(getattr(scores, name)) for name in scores.__slots__}
        scores = replace(scores, **parts)
    return Pool(
        size=len(kept),
        m=min(pool.m, len(kept)),
        rng=pool.rng,
        scores=scores,
        entropy=cut(pool.entropy),
        shortlist=pool.shortlist,
        features=cut(pool.features),
        past=pool.past,
        prompts=cut(pool.prompts),
    )


def _nothing_to_go_by(wanted: Strategy, scores: Scores | None, past: Past | None) -> bool:
    unmoved = wanted.needs_margin and scores is not None and is_cold(scores)
    return unmoved or (wanted.needs_past and (past is None or not len(past)))


def _cold(cold_start: str) -> Strategy:
    if cold_start not in COLD_STARTS:
        raise ValueError(f"cold_start must be one of {', '.join(COLD_STARTS)}, not {cold_start!r}")
    return STRATEGIES[COLD_STARTS[cold_start]]


@cache
def _plugins() -> dict[str, Strategy]:
    found = {}
    for point in entry_points(group="activedpo.acquisition"):
        loaded = point.load()
        if not isinstance(loaded, Strategy):
            raise TypeError(
                f"entry point {point.name!r} ({point.value}) is no acquisition Strategy"
            )
        found[point.name] = loaded
    return found


__all__ = [
    "COLD_STARTS",
    "STRATEGIES",
    "Past",
    "Pool",
    "Strategy",
    "acquire",
    "is_cold",
    "names",
    "needs_entropy",
    "needs_features",
    "needs_past",
    "needs_scores",
    "rank",
    "strategy",
    "subset",
]
