"""What a project's page tells of its labels: how many, when, how long they took, how far people
agree. All of its SQL.

A project of few labels is counted whenever somebody looks. Of `MANY` or more the figures are kept
as a :class:`Snapshot`, shown at once and taken anew behind the answer once it is `FRESH` old: a
page of a million labels costs what a small one does.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import charts
from app.database import transaction
from app.labelling.models import Claim, Preference
from app.language import _
from app.projects import figures
from app.projects.models import Pair, Prompt, Snapshot
from app.quality import queries as quality
from app.rounds.models import Round

MANY = 50_000
FRESH = dt.timedelta(seconds=60)
MOST_DAYS = 60
MOST_ROUNDS = 30


@dataclass(frozen=True)
class Day:
    """The labels of a day (UTC); ``seconds`` is their median time."""

    day: dt.date
    labels: int
    skips: int
    seconds: float | None


@dataclass(frozen=True)
class Agreed:
    """Krippendorff's α of a round with its 95 % interval, over ``pairs`` that several answered."""

    round: int
    pairs: int
    alpha: float
    low: float
    high: float


@dataclass(frozen=True)
class Seen:
    """All of it; ``taken_at``: when it was counted, None where just now."""

    figures: figures.Figures
    days: Sequence[Day]
    agreed: Sequence[Agreed]
    taken_at: dt.datetime | None = None

    @property
    def is_stale(self) -> bool:
        """Whether it is to be counted again."""
        return self.taken_at is not None and dt.datetime.now(dt.UTC) - self.taken_at > FRESH


@dataclass(frozen=True)
class Queue:
    """What waits in the batch that takes labels now."""

    open: int
    held: int
    review: int


def seen(session: Session, project_id: uuid.UUID) -> Seen:
    """The figures of a project without anybody's answers to gold: a snapshot where it is large."""
    snapshot = session.get(Snapshot, project_id)
    if snapshot is not None:
        return _read(snapshot)
    counted = _count(session, project_id)
    if _is_large(session, project_id):
        _store(session, project_id, counted)
    return counted


def refresh(project_id: uuid.UUID) -> None:
    """Take a snapshot anew, unless somebody is just doing so; a project that is small again has
    none."""
    with transaction() as session:
        key = int.from_bytes(project_id.bytes[8:], "big", signed=True)
        if not session.scalar(select(func.pg_try_advisory_xact_lock(key))):
            return
        snapshot = session.get(Snapshot, project_id)
        if snapshot is None or not _read(snapshot).is_stale:
            return
        if _is_large(session, project_id):
            _store(session, project_id, _count(session, project_id))
        else:
            session.delete(snapshot)


def _is_large(session: Session, project_id: uuid.UUID) -> bool:
    """Whether there are `MANY` labels, pairs or prompts; each a look at so many index entries."""

    def many(id: InstrumentedAttribute[uuid.UUID], of: InstrumentedAttribute[uuid.UUID]) -> Any:
        rows = select(literal(1)).where(of == project_id).order_by(id)
        return rows.offset(MANY - 1).limit(1).exists()

    large = or_(
        many(Preference.id, Preference.project_id),
        many(Pair.id, Pair.project_id),
        many(Prompt.id, Prompt.project_id),
    )
    return bool(session.scalar(select(large)))


def _count(session: Session, project_id: uuid.UUID) -> Seen:
    return Seen(
        figures.figures(session, project_id),
        _days(session, project_id),
        _agreed(session, project_id),
    )


def _days(session: Session, project_id: uuid.UUID) -> list[Day]:
    """The last days on which somebody answered, oldest first; what came recorded left out."""
    day = func.date(func.timezone("UTC", Preference.created_at)).label("day")
    said = Preference.choice != "skip"
    rows = session.execute(
        select(
            day,
            func.count().filter(said),
            func.count().filter(~said),
            func.percentile_cont(0.5).within_group(Preference.seconds).filter(said),
        )
        .where(
            Preference.project_id == project_id,
            Preference.deleted_at.is_(None),
            Preference.is_label,
            ~Preference.recorded,
        )
        .group_by(day)
        .order_by(day.desc())
        .limit(MOST_DAYS)
    ).all()
    return [Day(*row) for row in rows[::-1]]


def _agreed(session: Session, project_id: uuid.UUID) -> list[Agreed]:
    newest = select(Round.id, Round.number).where(Round.project_id == project_id)
    numbers = dict(session.execute(newest.order_by(Round.number.desc()).limit(MOST_ROUNDS)).all())
    found = quality.agreements(session, project_id, list(numbers))
    told = [
        Agreed(numbers[id], one.pairs, one.alpha, one.alpha_low, one.alpha_high)
        for id, one in found.items()
        if one.alpha is not None and one.alpha_low is not None and one.alpha_high is not None
    ]
    return sorted(told, key=lambda one: one.round)


def _store(session: Session, project_id: uuid.UUID, counted: Seen) -> None:
    data = {
        "figures": asdict(counted.figures),
        "days": [asdict(one) | {"day": one.day.isoformat()} for one in counted.days],
        "agreed": [asdict(one) for one in counted.agreed],
    }
    values = {"data": data, "taken_at": func.clock_timestamp()}
    session.execute(
        insert(Snapshot)
        .values(project_id=project_id, **values)
        .on_conflict_do_update(index_elements=["project_id"], set_=values)
    )


def _read(snapshot: Snapshot) -> Seen:
    data = snapshot.data
    return Seen(
        figures.Figures(**data["figures"]),
        [Day(**one | {"day": dt.date.fromisoformat(one["day"])}) for one in data["days"]],
        [Agreed(**one) for one in data["agreed"]],
        snapshot.taken_at,
    )


def queue(session: Session, round: Round | None) -> Queue | None:
    """What waits in a round; None where it takes no labels."""
    if round is None or round.state != "labelling":
        return None
    held = select(func.count()).where(
        Claim.round_id == round.id, Claim.state == "live", Claim.expires_at > func.now()
    )
    review = select(func.count()).where(
        Pair.round_id == round.id, Pair.review, Pair.state == "open"
    )
    return Queue(
        max(0, round.needed - round.answered),
        session.scalar(held) or 0,
        session.scalar(review) or 0,
    )


def drawn(found: Seen) -> list[charts.Plot]:
    """The charts of a project: labels a day, time per label, agreement by round."""
    plots = [
        charts.days(
            _("Labels a day"),
            _("labels"),
            [(one.day, float(one.labels), _skipped(one)) for one in found.days],
        ),
        charts.days(
            _("Time per label, the median of a day"),
            _("seconds"),
            [(one.day, one.seconds, "") for one in found.days if one.seconds is not None],
        ),
        charts.lines(
            _("Agreement by round"),
            _("round"),
            "α",
            [
                charts.Series(
                    "α",
                    [(float(one.round), one.alpha) for one in found.agreed],
                    low=[one.low for one in found.agreed],
                    high=[one.high for one in found.agreed],
                )
            ]
            if len(found.agreed) > 1
            else [],
        ),
    ]
    return [plot for plot in plots if plot is not None]


def _skipped(day: Day) -> str:
    return str(_("%(n)s skipped", n=day.skips)) if day.skips else ""
