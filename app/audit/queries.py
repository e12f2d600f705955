"""All SQL of the log."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.people.models import Person
from app.projects.export import streamed
from app.projects.models import Project
from app.rounds.models import Event, Round


def events(project_id: uuid.UUID | None) -> Select[*tuple[Any, ...]]:
    """Every event of a project, or of the whole site (None): with who did it (null: the program),
    the round's number and the project's name."""
    query = (
        select(
            Event.id,
            Event.created_at,
            Event.kind,
            Event.data,
            Event.round_id,
            Event.project_id,
            Project.name.label("project"),
            Round.number,
            Person.email,
            Person.name,
        )
        .outerjoin(Person, Person.id == Event.person_id)
        .outerjoin(Round, Round.id == Event.round_id)
        .outerjoin(Project, Project.id == Event.project_id)
    )
    return query if project_id is None else query.where(Event.project_id == project_id)


def view(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """An event as JSON, as those who manage its project see it."""
    return {
        "id": row.id,
        "at": row.created_at.isoformat(),
        "kind": row.kind,
        "person": row.email,
        "round": str(row.round_id) if row.round_id else None,
        "data": row.data,
    }


def site_view(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    """The same as admins see it: with the project, if it is of one."""
    return {**view(row), "project": str(row.project_id) if row.project_id else None}


def view_of(project_id: uuid.UUID | None) -> Callable[[Row[*tuple[Any, ...]]], dict[str, Any]]:
    """How an event of the project, or of the whole site (None), is shown."""
    return site_view if project_id is None else view


def older(
    session: Session, project_id: uuid.UUID | None, limit: int, before: int | None
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The newest events, or those before the one with id ``before``."""
    query = events(project_id)
    if before is not None:
        query = query.where(Event.id < before)
    return session.execute(query.order_by(Event.id.desc()).limit(limit)).all()


def newer(
    session: Session, project_id: uuid.UUID | None, limit: int, after: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The oldest events after the one with id ``after``."""
    query = events(project_id).where(Event.id > after)
    return session.execute(query.order_by(Event.id).limit(limit)).all()


def everything(project_id: uuid.UUID | None) -> Iterator[dict[str, Any]]:
    """Every event, oldest first, streamed out of one snapshot."""
    return map(view_of(project_id), streamed(events(project_id).order_by(Event.id)))
