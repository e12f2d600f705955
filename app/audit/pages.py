"""The pages "Log": of a project, and of the site."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from app.audit import queries
from app.database import Db
from app.people.access import project_for
from app.projects.pages import shared
from app.web import PageActor, render

router = APIRouter(include_in_schema=False)

SHOWN = 100


@router.get("/projects/{project_id}/log")
def log(
    request: Request,
    project_id: uuid.UUID,
    actor: PageActor,
    db: Db,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> HTMLResponse:
    """What happened, the newest first."""
    project = project_for(db, actor, project_id, "manage")
    shown = _shown(db, project.id, before, f"/projects/{project.id}/log")
    return render(request, "audit/log.html", **shared(db, actor, project, "log"), **shown)


@router.get("/admin/log")
def site_log(
    request: Request,
    actor: PageActor,
    db: Db,
    before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> HTMLResponse:
    """What happened anywhere, the newest first (admins)."""
    actor.require_admin()
    shown = _shown(db, None, before, "/admin/log")
    return render(request, "audit/site.html", section="system", **shown)


def _shown(
    db: Session, project_id: uuid.UUID | None, before: int | None, here: str
) -> dict[str, Any]:
    rows = queries.older(db, project_id, SHOWN + 1, before)
    last = rows[SHOWN - 1].id if len(rows) > SHOWN else None
    return {"events": rows[:SHOWN], "before": last, "here": here, "where": project_id is None}
