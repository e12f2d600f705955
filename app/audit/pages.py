"""The page "Log" of a project."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

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
    rows = queries.older(db, project.id, SHOWN + 1, before)
    return render(
        request,
        "audit/log.html",
        **shared(db, actor, project, "log"),
        events=rows[:SHOWN],
        before=rows[SHOWN - 1].id if len(rows) > SHOWN else None,
    )
