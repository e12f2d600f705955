"""The log over HTTP: a page at a time, or the whole of it as a file."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.audit import queries
from app.database import Db
from app.downloads import download
from app.people.access import CurrentActor, project_for
from app.projects import writing

router = APIRouter(prefix="/api/v1", tags=["audit"])

Limit = Annotated[int, Query(ge=1, le=500, description="Items a page.")]
Cursor = Annotated[int, Query(ge=0, le=2**62, description="`next` of the page before.")]


@router.get("/events")
def list_all_events(
    actor: CurrentActor, db: Db, limit: Limit = 100, cursor: Cursor = 0
) -> dict[str, Any]:
    """What happened on the site, in projects and outside of them, oldest first (admins)."""
    actor.require_admin()
    return _listed(db, None, limit, cursor)


@router.get("/events/export")
def export_all_events(actor: CurrentActor) -> StreamingResponse:
    """The site's whole log as JSON Lines (admins)."""
    actor.require_admin()
    return _file(None, "log.jsonl")


@router.get("/projects/{project_id}/events")
def list_events(
    project_id: uuid.UUID, actor: CurrentActor, db: Db, limit: Limit = 100, cursor: Cursor = 0
) -> dict[str, Any]:
    """What happened in a project, oldest first: who, when, what. Nothing is ever changed in it."""
    project = project_for(db, actor, project_id, "manage")
    return _listed(db, project.id, limit, cursor)


@router.get("/projects/{project_id}/events/export")
def export_events(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> StreamingResponse:
    """The whole log as JSON Lines."""
    project = project_for(db, actor, project_id, "manage")
    return _file(project.id, f"log-{project.id}.jsonl")


def _listed(db: Session, project_id: uuid.UUID | None, limit: int, cursor: int) -> dict[str, Any]:
    rows = queries.newer(db, project_id, limit + 1, cursor)
    items = list(map(queries.view_of(project_id), rows[:limit]))
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}


def _file(project_id: uuid.UUID | None, name: str) -> StreamingResponse:
    return download(writing.lines(queries.everything(project_id)), name, "application/jsonl")
