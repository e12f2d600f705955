"""One label out of several opinions, each counted by how reliable its author was. No SQL.

An author's reliability r is a share of agreements, drawn towards a prior by `STRENGTH` comparisons
that nobody made:

    r = (agreed + STRENGTH · prior) / (compared + STRENGTH),   kept within [½, MOST]

People are compared with the other people who judged the same pair; oracles with people where the
pair has any, else with the other oracles. So a crowd of oracles that agree with each other cannot
talk down the people, and a random oracle costs a person nothing. An opinion's weight is

    w = log(r / (1 − r)),   and the label   p(a is better) = σ(Σ w · (2 · p_opinion − 1))

which is the posterior under a flat prior where opinions are independent, and as often right as r
says (the weighted majority of Nitzan and Paroush, 1982). Agreement with peers who err understates
how often one is right, so the weights are cautious ones. Who agrees less than by chance weighs
nothing: it is not turned round, since few comparisons cannot tell malice from bad luck.
"""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from activedpo.odds import sigmoid

STRENGTH = 4.0
PRIOR_OF_PEOPLE, PRIOR_OF_ORACLES = 0.75, 0.5
"""Before any comparison: a person is likelier right than not, of an oracle nothing is known."""

MOST = 0.99
"""No run of agreements makes an opinion more than this: weight 4.6."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Which of a pair's completions, a or b, an author chose."""

    author: uuid.UUID
    by_oracle: bool
    chosen: str


def reliabilities(pairs: Iterable[Sequence[Opinion]]) -> dict[uuid.UUID, float]:
    """r in [½, `MOST`] of everybody who has an opinion in ``pairs``, each the opinions of one."""
    agreed: dict[uuid.UUID, float] = defaultdict(float)
    compared: dict[uuid.UUID, float] = defaultdict(float)
    priors: dict[uuid.UUID, float] = {}
    for opinions in pairs:
        for one in opinions:
            priors[one.author] = PRIOR_OF_ORACLES if one.by_oracle else PRIOR_OF_PEOPLE
            peers = _peers(one, opinions)
            if peers:  # a pair is one comparison, however many others judged it
                compared[one.author] += 1
                same = sum(peer.chosen == one.chosen for peer in peers)
                agreed[one.author] += same / len(peers)
    return {
        author: _within((agreed[author] + STRENGTH * prior) / (compared[author] + STRENGTH))
        for author, prior in priors.items()
    }


def _peers(one: Opinion, opinions: Sequence[Opinion]) -> list[Opinion]:
    others = [other for other in opinions if other.author != one.author]
    people = [other for other in others if not other.by_oracle]
    return people if people or not one.by_oracle else others


def _within(r: float) -> float:
    return max(0.5, min(MOST, r))


def weight(reliability: float) -> float:
    """log(r / (1 − r)): 0 of one half."""
    return math.log(reliability / (1.0 - reliability))


def combined(chances: Sequence[float], weights: Sequence[float]) -> float:
    """p(a is better) of one pair.

    Args:
        chances: p(a is better) of each opinion, in [0, 1]; a single one stays what it is.
        weights: of their authors, 0 or more.
    """
    if len(chances) == 1:
        return chances[0]
    return sigmoid(sum(w * (2.0 * p - 1.0) for p, w in zip(chances, weights, strict=True)))
