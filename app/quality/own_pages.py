"""The page on which annotators see figures of their own work."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.database import Db
from app.people.access import project_for
from app.projects.pages import shared
from app.quality import own
from app.quality.queries import ENOUGH
from app.web import PageActor, render

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/own-figures")
def own_figures(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """One's own pace and agreement, where the project shows them."""
    project = project_for(db, actor, project_id, "label")
    return render(
        request,
        "quality/own.html",
        **shared(db, actor, project, "own"),
        own=own.figures(db, project, actor.person.id) if project.own_figures else None,
        why_not=own.SHOWN_TO_NOBODY,
        enough=ENOUGH,
    )
