"""The page "Quality" of a project: how far its labels can be trusted."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Problem
from app.people.access import Actor, project_for
from app.projects.models import Project
from app.projects.pages import shared
from app.quality import actions, gold_pages, own_pages, queries
from app.web import Checked, PageActor, Posted, go, render, text

router = APIRouter(include_in_schema=False)
router.include_router(gold_pages.router)
router.include_router(own_pages.router)


@router.get("/projects/{project_id}/quality")
def quality(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Agreement by round, habits by person, agreement between two."""
    return _page(request, db, actor, project_for(db, actor, project_id, "manage"))


@router.post("/projects/{project_id}/quality/{person_id}/set-aside")
def set_aside(
    request: Request,
    project_id: uuid.UUID,
    person_id: uuid.UUID,
    actor: PageActor,
    posted: Posted,
    db: Db,
) -> Response:
    """Set a person's labels aside, with a reason."""
    project = project_for(db, actor, project_id, "manage")
    try:
        actions.set_aside(db, project, person_id, text(posted, "reason"), actor.person.id)
    except Problem as problem:
        db.rollback()
        return _page(request, db, actor, project, problem)
    return go(f"/projects/{project.id}/quality", "set-aside")


@router.post("/projects/{project_id}/quality/{person_id}/take-back", dependencies=[Checked])
def take_back(project_id: uuid.UUID, person_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Let a person's labels count again."""
    project = project_for(db, actor, project_id, "manage")
    actions.take_back(db, project, person_id, actor.person.id)
    return go(f"/projects/{project.id}/quality", "taken-back")


def _page(
    request: Request, db: Session, actor: Actor, project: Project, problem: Problem | None = None
) -> HTMLResponse:
    people, between = queries.of_people(db, project.id)
    return render(
        request,
        "quality/quality.html",
        problem.status if problem else 200,
        **shared(db, actor, project, "quality"),
        rounds=queries.of_rounds(db, project.id),
        annotators=people,
        between=between,
        error=problem.detail if problem else None,
    )
