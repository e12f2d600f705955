"""Acquisition: which pairs are worth a label.

No torch here: the web process lists the names. Third parties add a strategy by an entry point of
the group `activedpo.acquisition` that names a `Strategy`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

import numpy as np

from activedpo.acquisition import certainty, closest_call, entropy, entropy_certainty, random
from activedpo.acquisition.base import Pool, Strategy
from activedpo.errors import InvalidScores, PoolTooSmall, UnknownAcquisition
from activedpo.types import Scores

_MODULES = (random, entropy, certainty, entropy_certainty, closest_call)
STRATEGIES: dict[str, Strategy] = {module.STRATEGY.name: module.STRATEGY for module in _MODULES}
"""The strategies of this package by name."""

COLD_STARTS = ("random", "entropy")


def names() -> list[str]:
    """All known names, sorted: ours and those of installed plug-ins."""
    return sorted({*STRATEGIES, *_plugins()})


def strategy(name: str) -> Strategy:
    """The strategy of that name; raises UnknownAcquisition, which lists the known ones."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name in _plugins():
        found = _plugins()[name]
        return found
    raise UnknownAcquisition(name, names())


def needs_scores(name: str) -> bool:
    """True where `acquire` reads the scores (so policy and reference have to be run)."""
    return strategy(name).needs_scores


def needs_entropy(name: str) -> bool:
    """True where `acquire` has to be given `entropy=`."""
    return strategy(name).needs_entropy


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
) -> np.ndarray:
    """Ranks a pool and takes the m most wanted pairs.

    Args:
        name: a strategy out of `names()`.
        scores: of the pool, n pairs; None is fine for strategies that read none.
        m: how many; None ranks all n.
        seed: or a generator; decides ties, and all of `random`.
        entropy: (n,) entropy of each pair's prompt, for strategies that read it.
        cold_start: what is used while all margins are 0 ("random", or "entropy" where entropy is
            given), as before the first training: see `is_cold`.
        shortlist: of `entropy_certainty`, as a multiple of m.
        size: n, where neither scores nor entropy tell it.

    Returns:
        (m,) int64 distinct indices into the pool, most wanted first.

    Raises:
        UnknownAcquisition, PoolTooSmall, InvalidScores (NaN, infinity, missing or misshapen).
    """
    wanted = strategy(name)
    n = _pool_size(scores, entropy, size)
    count = n if m is None else m
    if not 0 <= count <= n:
        raise PoolTooSmall(f"m = {m} pairs are wanted out of a pool of {n}: m must be in 0..{n}")
    entropy = None if entropy is None else np.asarray(entropy, dtype=np.float64)
    _check(wanted, scores, entropy, n)
    if wanted.needs_margin and scores is not None and is_cold(scores):
        wanted = _cold(cold_start, entropy, n)
    rng = np.random.default_rng(seed)
    ties = rng.random(n)
    pool = Pool(n, count, rng, scores, entropy, shortlist)
    values = wanted.rank(pool)
    return np.lexsort((ties, -values))[:count].astype(np.int64)


def _pool_size(scores: Scores | None, entropy: np.ndarray | None, size: int | None) -> int:
    sizes = {len(given) for given in (scores, entropy) if given is not None}
    sizes |= set() if size is None else {size}
    if len(sizes) != 1:
        raise InvalidScores(
            "the pool's size is unclear: give scores, entropy or size"
            if not sizes
            else f"scores, entropy and size disagree about the pool: {sorted(sizes)}"
        )
    return sizes.pop()


def _check(wanted: Strategy, scores: Scores | None, entropy: np.ndarray | None, n: int) -> None:
    if wanted.needs_scores:
        if scores is None:
            raise InvalidScores(f"acquisition {wanted.name!r} needs scores: call score_pairs")
        _finite("margin", scores.margin, n)
    if wanted.needs_entropy:
        if entropy is None:
            raise InvalidScores(f"acquisition {wanted.name!r} needs entropy=: call prompt_entropy")
        _finite("entropy", entropy, n)


def _finite(what: str, values: np.ndarray, n: int) -> None:
    if values.shape != (n,):
        raise InvalidScores(f"{what} must have shape ({n},), not {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InvalidScores(
            f"{what} of pair {bad[0]} is {values[bad[0]]}: score it again or drop it "
            f"({bad.size} of {n} are not finite)"
        )


def _cold(cold_start: str, entropy: np.ndarray | None, n: int) -> Strategy:
    if cold_start not in COLD_STARTS:
        raise ValueError(f"cold_start must be one of {', '.join(COLD_STARTS)}, not {cold_start!r}")
    if cold_start == "entropy":
        _check(STRATEGIES["entropy"], None, entropy, n)
    return STRATEGIES[cold_start]


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
    "Pool",
    "Strategy",
    "acquire",
    "is_cold",
    "names",
    "needs_entropy",
    "needs_scores",
    "strategy",
]
