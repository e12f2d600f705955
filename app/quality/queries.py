"""All SQL of the quality page, and the figures made from it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.labelling.models import Preference
from app.oracles.queries import by_oracle
from app.people.models import Person
from app.projects.models import Pair, Project
from app.quality import dawid_skene, gold
from app.quality.agreement import VALUES, Agreement, agreement, cohen, of_table, wilson
from app.quality.drift import Drift, drifts
from app.quality.models import SetAside, is_set_aside
from app.quality.reliability import Opinion, reliabilities, weight
from app.rounds.models import Round

MOST_PAIRS_OF_PEOPLE = 200
ENOUGH = 20
"""Fewer answers than this tell nothing of a person's habits."""


@dataclass(frozen=True)
class Share:
    """How often, with its 95 % interval: ``hits`` of ``total``."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share in [0, 1]."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """The 95 % interval of the share (Wilson)."""
        return wilson(self.hits, self.total) or (None, None)

    @property
    def leans(self) -> bool:
        """Whether one half lies outside the interval of enough answers."""
        interval = wilson(self.hits, self.total)
        if interval is None or self.total < ENOUGH:
            return False
        return not interval[0] <= 0.5 <= interval[1]

    def view(self) -> dict[str, Any]:
        """As JSON."""
        low, high = self.interval
        return {"share": self.value, "low": low, "high": high, "of": self.total}


@dataclass(frozen=True)
class Habits:
    """What is noticed of answers: ``left`` of the sided ones, ``longer`` of those where one is.

    ``seconds`` is the median time of an answer, idle time left out where a page measured it.
    """

    labels: int = 0
    skips: int = 0
    left: Share = Share(0, 0)
    longer: Share = Share(0, 0)
    seconds: float | None = None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        shares = {"left": self.left.view(), "longer": self.longer.view()}
        return {"labels": self.labels, "skips": self.skips, **shares, "seconds": self.seconds}


@dataclass(frozen=True)
class OfRound:
    """A round's labels."""

    id: uuid.UUID
    number: int
    habits: Habits
    agreement: Agreement

    def view(self) -> dict[str, Any]:
        """As JSON."""
        figures = {**self.habits.view(), **asdict(self.agreement)}
        return {"round": self.id, "number": self.number, **figures}


@dataclass(frozen=True)
class OfPerson:
    """A person's labels; ``agrees`` counts comparisons with others' answers to the same pairs,
    of which ``agreement`` has α, ``gold`` right answers to gold pairs."""

    id: uuid.UUID
    name: str
    email: str
    habits: Habits
    agrees: Share
    set_aside: str | None
    reliability: float | None = None
    gold: Share = Share(0, 0)
    agreement: Agreement = field(default_factory=Agreement)
    drift: Drift | None = None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        who = {"person": self.id, "name": self.name, "email": self.email}
        more = {
            "agrees": self.agrees.view(),
            "agreement": asdict(self.agreement),
            "drift": self.drift.view() if self.drift else None,
            "gold": self.gold.view(),
            "set_aside": self.set_aside,
            "reliability": self.reliability,
            "weight": None if self.reliability is None else weight(self.reliability),
        }
        return {**who, **self.habits.view(), **more}


@dataclass(frozen=True)
class OfTwo:
    """Two people's answers to the same pairs; Cohen's ``kappa`` and α have 95 % intervals."""

    one: str
    other: str
    pairs: int
    percent: float | None
    kappa: float | None
    kappa_low: float | None = None
    kappa_high: float | None = None
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None


_stands = and_(Preference.deleted_at.is_(None), ~Preference.recorded, Preference.is_label)
_said = func.coalesce(Preference.chosen, Preference.choice)


def _habits(
    session: Session, project_id: uuid.UUID, by: InstrumentedAttribute[Any], *where: Any
) -> dict[uuid.UUID, Habits]:
    a, b = func.char_length(Pair.completion_a), func.char_length(Pair.completion_b)
    longer = or_(and_(Preference.chosen == "a", a > b), and_(Preference.chosen == "b", b > a))
    counted = Preference.choice != "skip"
    sided = Preference.chosen.is_not(None)
    median = func.percentile_cont(0.5).within_group(Preference.seconds).filter(counted)
    rows = session.execute(
        select(by, *map(_count, (counted, ~counted, Preference.choice == "left", sided, longer,
                                 and_(sided, a != b))), median)
        .join(Pair, Pair.id == Preference.pair_id)
        .where(Preference.project_id == project_id, _stands, *where)
        .group_by(by)
    )  # fmt: skip
    return {
        key: Habits(said, skips, Share(left, sides), Share(long, unequal), seconds)
        for key, said, skips, left, sides, long, unequal, seconds in rows
        if key is not None
    }


def _count(what: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(what)


def of_rounds(session: Session, project_id: uuid.UUID) -> list[OfRound]:
    """The rounds that have labels, the newest first; labels that are set aside left out."""
    habits = _habits(session, project_id, Preference.round_id, ~is_set_aside())
    counts = agreements(session, project_id)
    rounds = session.execute(
        select(Round.id, Round.number)
        .where(Round.project_id == project_id, Round.id.in_(list(habits)))
        .order_by(Round.number.desc())
    )
    return [OfRound(id, n, habits[id], counts.get(id, Agreement())) for id, n in rounds]


def agreements(
    session: Session, project_id: uuid.UUID, rounds: Sequence[uuid.UUID] | None = None
) -> dict[uuid.UUID, Agreement]:
    """Agreement within the rounds of a project, or within some of them."""
    some = [] if rounds is None else [Preference.round_id.in_(rounds)]
    each = [_count(_said == value).label(f"n{i}") for i, value in enumerate(VALUES)]
    by_pair = (
        select(Preference.round_id, Preference.pair_id, *each)
        .where(
            Preference.project_id == project_id,
            _stands,
            Preference.choice != "skip",
            ~is_set_aside(),
            *some,
        )
        .group_by(Preference.round_id, Preference.pair_id)
        .having(func.count() > 1)
        .subquery()
    )
    columns = [by_pair.c[f"n{i}"] for i in range(len(VALUES))]
    found: dict[uuid.UUID, list[Sequence[int]]] = defaultdict(list)
    rows = session.execute(
        select(by_pair.c.round_id, *columns, func.count()).group_by(by_pair.c.round_id, *columns)
    )
    for round_id, *numbers in rows:
        found[round_id].append(numbers)
    return {
        id: agreement(np.array(rows)[:, :-1], np.array(rows)[:, -1]) for id, rows in found.items()
    }


def of_people(session: Session, project_id: uuid.UUID) -> tuple[list[OfPerson], list[OfTwo]]:
    """Everybody who labelled, the busiest first, and who was compared with whom."""
    habits = _habits(session, project_id, Preference.person_id)
    aside = dict(
        session.execute(
            select(SetAside.person_id, SetAside.reason).where(SetAside.project_id == project_id)
        ).all()
    )
    tables = _tables(session, project_id)
    known = gold.accuracy(session, project_id)
    people = session.scalars(select(Person).where(Person.id.in_([*habits, *aside, *known])))
    agrees = _agreed(tables)
    together = _together(tables)
    reliable = reliability_of(session, project_id)
    changes = drifts(session, project_id)
    listed = [
        OfPerson(
            who.id,
            who.name or who.email,
            who.email,
            habits.get(who.id, Habits()),
            Share(*agrees.get(who.id, (0, 0))),
            aside.get(who.id),
            reliable.get(who.id),
            Share(*known.get(who.id, (0, 0))),
            of_table(together[who.id]) if who.id in together else Agreement(),
            changes.get(who.id),
        )
        for who in people
    ]
    listed.sort(key=lambda one: (-one.habits.labels, one.email))
    names = {one.id: one.name for one in listed}
    return listed, _twos(tables, names)


def reliability_of(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, float]:
    """r of everybody whose choices stand now, as a training of these labels would count them;
    by agreement with peers where the project weighs no opinions."""
    opinions = session.get_one(Project, project_id).training.get("opinions")
    measure = dawid_skene.reliabilities if opinions == "dawid_skene" else reliabilities
    rows = session.execute(
        select(
            Preference.pair_id,
            Preference.person_id,
            by_oracle(Preference).label("by_oracle"),
            Preference.chosen,
        )
        .where(
            Preference.project_id == project_id,
            Preference.deleted_at.is_(None),
            Preference.chosen.is_not(None),
            ~Preference.review,
            Preference.is_label,
            ~is_set_aside(),
        )
        .order_by(Preference.pair_id)
        .execution_options(yield_per=10_000)
    )
    return measure(
        [Opinion(row.person_id, row.by_oracle, row.chosen) for row in answers]
        for _, answers in groupby(rows, key=lambda row: row.pair_id)
    )


Tables = dict[tuple[uuid.UUID, uuid.UUID], Any]
Together = dict[uuid.UUID, Any]


def _tables(session: Session, project_id: uuid.UUID) -> Tables:
    """For each two people, a table of values by which both answered the same pairs."""
    other = aliased(Preference)
    theirs = func.coalesce(other.chosen, other.choice)
    rows = session.execute(
        select(Preference.person_id, other.person_id, _said, theirs, func.count())
        .join(
            other,
            and_(other.pair_id == Preference.pair_id, other.person_id > Preference.person_id),
        )
        .where(
            Preference.project_id == project_id,
            _stands,
            Preference.choice != "skip",
            other.deleted_at.is_(None),
            ~other.recorded,
            other.choice != "skip",
        )
        .group_by(Preference.person_id, other.person_id, _said, theirs)
    ).all()
    tables: Tables = defaultdict(lambda: np.zeros((len(VALUES), len(VALUES)), dtype=np.int64))
    for one, two, said, also, count in rows:
        tables[one, two][VALUES.index(said), VALUES.index(also)] = count
    return tables


def _agreed(tables: Tables) -> dict[uuid.UUID, tuple[int, int]]:
    totals: dict[uuid.UUID, tuple[int, int]] = {}
    for both, table in tables.items():
        for person in both:
            hits, total = totals.get(person, (0, 0))
            totals[person] = (hits + int(np.trace(table)), total + int(table.sum()))
    return totals


def _together(tables: Tables) -> Together:
    """For each person, their answers (rows) against those of all others to the same pairs."""
    found: Together = {}
    for (one, other), table in tables.items():
        found[one] = found.get(one, 0) + table
        found[other] = found.get(other, 0) + table.T
    return found


def _twos(tables: Tables, names: dict[uuid.UUID, str]) -> list[OfTwo]:
    busiest = sorted(
        tables.items(), key=lambda two: (-two[1].sum(), *(names[one] for one in two[0]))
    )
    return [
        _two(names[one], names[other], table)
        for (one, other), table in busiest[:MOST_PAIRS_OF_PEOPLE]
    ]


def _two(one: str, other: str, table: Any) -> OfTwo:
    found = of_table(table)
    alpha = {name: getattr(found, name) for name in ("alpha", "alpha_low", "alpha_high")}
    return OfTwo(one, other, int(table.sum()), **asdict(cohen(table)), **alpha)


def quality_view(session: Session, project_id: uuid.UUID) -> dict[str, Any]:
    """All of it as JSON."""
    people, twos = of_people(session, project_id)
    return {
        "rounds": [one.view() for one in of_rounds(session, project_id)],
        "annotators": [one.view() for one in people],
        "between": [asdict(two) for two in twos],
    }
