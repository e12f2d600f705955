"""How often each author is right, where nobody knows what is right: expectation maximisation.

Dawid and Skene, 1979, with one number an author ("one coin"): which completion is called a says
nothing, so an author errs alike on both, and both are as likely beforehand. By turns, until the
numbers stand still:

    E: p(a is better) of a pair = σ(Σ ±log(r / (1 − r))), + where the author chose a
    M: r = (Σ p(the author's choice) + STRENGTH · prior) / (pairs + STRENGTH), within [½, MOST]

The prior is that of :mod:`app.quality.reliability`, and so are the weights that follow; a test
compares both with crowd-kit's ``OneCoinDawidSkene``, which has none. Pairs with one opinion tell
nothing of their author. Unlike agreement with peers this counts who agrees with good authors for
more than who agrees with bad ones; but all opinions are taken for independent, people's and
oracles' alike, so authors who share an error confirm each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from activedpo.acquisition.base import sigmoid
from app.quality.reliability import (
    MOST,
    PRIOR_OF_ORACLES,
    PRIOR_OF_PEOPLE,
    STRENGTH,
    Opinion,
)

MOST_TURNS = 200
STILL = 1e-7
"""The numbers stand still once none moves by more."""


def reliabilities(pairs: Iterable[Sequence[Opinion]]) -> dict[uuid.UUID, float]:
    """r in [½, `MOST`] of everybody who has an opinion in ``pairs``, each the opinions of one."""
    authors: dict[uuid.UUID, int] = {}
    priors: list[float] = []
    rows: list[tuple[int, int, bool]] = []
    several = 0
    for opinions in pairs:
        for one in opinions:
            if one.author not in authors:
                authors[one.author] = len(authors)
                priors.append(PRIOR_OF_ORACLES if one.by_oracle else PRIOR_OF_PEOPLE)
        if len(opinions) > 1:
            rows += [(several, authors[one.author], one.chosen == "a") for one in opinions]
            several += 1
    if not rows:
        return dict(zip(authors, priors, strict=True))
    pair, author, chose_a = map(np.array, zip(*rows, strict=True))
    found = _until_still(pair, author, chose_a, np.array(priors), STRENGTH)
    return dict(zip(authors, map(float, found), strict=True))


def _until_still(
    pair: NDArray[np.int64],
    author: NDArray[np.int64],
    chose_a: NDArray[np.bool_],
    priors: NDArray[np.float64],
    strength: float,
) -> NDArray[np.float64]:
    """r of each author.

    Args:
        pair: of each opinion, its pair, counted from 0, shape (n,).
        author: its author likewise, shape (n,).
        chose_a: whether it is for completion a, shape (n,).
        priors: r before any comparison, shape (authors,).
        strength: how many comparisons the prior counts for; 0 for none.
    """
    judged = np.bincount(author, minlength=len(priors))
    chance = np.bincount(pair, weights=chose_a) / np.bincount(pair)  # at first, the mean vote
    r = priors
    for _ in range(MOST_TURNS):
        before = r
        own = np.where(chose_a, chance[pair], 1.0 - chance[pair])
        right = np.bincount(author, weights=own, minlength=len(priors)) + strength * priors
        total = judged + strength
        share = np.divide(right, total, out=priors.copy(), where=total > 0)
        r = np.clip(share, 0.5, MOST)
        if np.abs(r - before).max() < STILL:
            break
        odds = np.log(r / (1.0 - r))[author] * np.where(chose_a, 1.0, -1.0)
        chance = sigmoid(np.bincount(pair, weights=odds))
    return r
