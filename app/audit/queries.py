"""All SQL of the log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.database import get_engine
from app.people.models import Person
from app.rounds.models import Event, Round

ROWS_AT_ONCE = 500


def events(project_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    """Every event of a project, with who did it (null: the program) and the round's number."""
    return (
        select(
            Event.id,
            Event.created_at,
            Event.kind,
            Event.data,
            Event.round_id,
            Round.number,
            Person.email,
            Person.name,
        )
        .outerjoin(Person, Person.id == Event.person_id)
        .outerjoin(Round, Round.id == Event.round_id)
        .where(Event.project_id == project_id)
    )


def view(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """An event as JSON."""
    return {
        "id": row.id,
        "at": row.created_at.isoformat(),
        "kind": row.kind,
        "person": row.email,
        "round": str(row.round_id) if row.round_id else None,
        "data": row.data,
    }


def older(
    session: Session, project_id: uuid.UUID, limit: int, before: int | None
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The newest events, or those before the one with id ``before``."""
    query = events(project_id)
    if before is not None:
        query = query.where(Event.id < before)
    return session.execute(query.order_by(Event.id.desc()).limit(limit)).all()


def newer(
    session: Session, project_id: uuid.UUID, limit: int, after: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The oldest events after the one with id ``after``."""
    query = events(project_id).where(Event.id > after)
    return session.execute(query.order_by(Event.id).limit(limit)).all()


def everything(project_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """Every event, oldest first, streamed out of one snapshot."""
    with (
        get_engine()
        .connect()
        .execution_options(isolation_level="REPEATABLE READ", yield_per=ROWS_AT_ONCE) as connection
    ):
        for row in connection.execute(events(project_id).order_by(Event.id)):
            yield view(row)
