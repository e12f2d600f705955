"""Whether somebody answers otherwise now than before, and whether faster than one can read.

Drift: each person's answers by time, cut in the middle: agreement with others, the left side and
the median time in the first half against the second. Two shares differ by the pooled z-test,

    z = (p₂ − p₁) / √(p (1 − p) (1/n₁ + 1/n₂)),   p = (h₁ + h₂) / (n₁ + n₂)

and drift is told of where |z| > 2.58 (1 in 100 by chance) on `ENOUGH` answers in either half: a
project looks at many people at once, and 1 in 20 would point at somebody who did nothing.

Speed: an answer is hasty where its two completions came by at more than `READABLE` characters a
second, about 1,000 words a minute; people read about 240 (Brysbaert, 2019, over 190 studies).
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, and_, case, cast, func, select
from sqlalchemy.orm import Session

from app.labelling.models import Preference
from app.projects.models import Pair

ENOUGH = 20
SURE = 2.58
READABLE = 100.0
MUCH_FASTER = 0.5

Halves = tuple[float, float]


@dataclass(frozen=True)
class Change:
    """A share in the first half and in the second: ``hits`` of ``totals``; hits may be parts."""

    hits: Halves
    totals: tuple[int, int]

    @property
    def shares(self) -> tuple[float | None, float | None]:
        """Both shares in [0, 1]; None of nothing."""
        before, after = (h / n if n else None for h, n in zip(self.hits, self.totals, strict=True))
        return before, after

    @property
    def z(self) -> float | None:
        """How many standard errors the second lies above the first; None of too few answers."""
        if min(self.totals) < ENOUGH:
            return None
        (h1, h2), (n1, n2) = self.hits, self.totals
        pooled = (h1 + h2) / (n1 + n2)
        error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        return (h2 / n2 - h1 / n1) / error if error else 0.0

    @property
    def drifts(self) -> bool:
        """Whether the difference is more than chance."""
        return self.z is not None and abs(self.z) > SURE

    def view(self) -> dict[str, Any]:
        """As JSON."""
        before, after = self.shares
        return {
            "before": before,
            "after": after,
            "of": list(self.totals),
            "z": self.z,
            "drifts": self.drifts,
        }


@dataclass(frozen=True)
class Drift:
    """A person's first answers against their later ones.

    ``seconds`` are the median times of both halves; ``hasty`` of ``timed`` answers took less time
    than reading both completions takes.
    """

    agrees: Change
    left: Change
    seconds: tuple[float | None, float | None]
    answers: tuple[int, int]
    hasty: int
    timed: int

    @property
    def faster(self) -> bool:
        """Whether the second half took less than half the time of the first."""
        before, after = self.seconds
        enough = min(self.answers) >= ENOUGH
        if not enough or before is None or after is None:
            return False
        return after < MUCH_FASTER * before

    @property
    def hurries(self) -> bool:
        """Whether more than one answer in ten is hasty, of enough."""
        return self.timed >= ENOUGH and self.hasty > self.timed / 10

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "agrees": self.agrees.view(),
            "left": self.left.view(),
            "seconds": {"before": self.seconds[0], "after": self.seconds[1], "drifts": self.faster},
            "hasty": {"answers": self.hasty, "of": self.timed, "outlier": self.hurries},
        }


def drifts(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, Drift]:
    """Of everybody who answered in a project. One statement: two windows over its answers."""
    halves: dict[uuid.UUID, dict[int, Any]] = {}
    for row in session.execute(_halves(project_id)):
        halves.setdefault(row.person_id, {})[row.half] = row
    return {person: _of(rows) for person, rows in halves.items()}


def _halves(project_id: uuid.UUID) -> Any:
    said = func.coalesce(Preference.chosen, Preference.choice)
    by_pair = func.count().over(partition_by=Preference.pair_id)
    same = func.count().over(partition_by=(Preference.pair_id, said))
    length = func.char_length(Pair.completion_a) + func.char_length(Pair.completion_b)
    answers = (
        select(
            Preference.person_id,
            Preference.seconds,
            (Preference.choice == "left").label("left"),
            Preference.chosen.is_not(None).label("sided"),
            (Preference.seconds * READABLE < length).label("hasty"),
            (by_pair - 1).label("others"),
            (same - 1).label("alike"),
            func.ntile(2)
            .over(
                partition_by=Preference.person_id, order_by=(Preference.created_at, Preference.id)
            )
            .label("half"),
        )
        .join(Pair, Pair.id == Preference.pair_id)
        .where(
            Preference.project_id == project_id,
            Preference.deleted_at.is_(None),
            ~Preference.recorded,
            Preference.is_label,
            Preference.choice != "skip",
        )
        .subquery()
    )
    a = answers.c
    compared = a.others > 0
    share = case((compared, cast(a.alike, Float) / func.nullif(a.others, 0)))
    return select(
        a.person_id,
        a.half,
        func.count().label("answers"),
        func.count().filter(compared).label("compared"),
        func.coalesce(func.sum(share), 0.0).label("agreed"),
        func.count().filter(a.sided).label("sided"),
        func.count().filter(and_(a.sided, a.left)).label("left"),
        func.percentile_cont(0.5).within_group(a.seconds).label("seconds"),
        func.count().filter(a.hasty).label("hasty"),
        func.count(a.seconds).label("timed"),
    ).group_by(a.person_id, a.half)


def _of(rows: dict[int, Any]) -> Drift:
    def both(name: str) -> tuple[Any, Any]:
        first, second = (getattr(rows[n], name) if n in rows else None for n in (1, 2))
        return first, second

    def counts(name: str) -> tuple[int, int]:
        first, second = both(name)
        return first or 0, second or 0

    agreed = both("agreed")
    return Drift(
        Change((float(agreed[0] or 0), float(agreed[1] or 0)), counts("compared")),
        Change(counts("left"), counts("sided")),
        both("seconds"),
        counts("answers"),
        sum(counts("hasty")),
        sum(counts("timed")),
    )
