"""The labelling page, and the two small answers that it asks for in between."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.labelling import actions, gold, practice, practice_pages, reviewing_pages, way_pages
from app.people.access import Actor, may, project_for, role_in
from app.projects.figures import newest_rounds
from app.projects.models import Project
from app.rounds.models import Round
from app.rounds.story import STAGE_WORDS
from app.web import PageActor, go, render

router = APIRouter(include_in_schema=False)
router.include_router(practice_pages.router)
router.include_router(reviewing_pages.router)
router.include_router(way_pages.router)

MOST_AHEAD = 4


@router.get("/projects/{project_id}/label")
def label_page(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """One pair at a time; the script claims them and sends the answers. Where asked: practice."""
    project = project_for(db, actor, project_id, "label")
    if practice.is_asked(db, project, actor):
        return go(f"/projects/{project.id}/practice")
    round = _newest(db, actor, project)
    # Pairs claimed ahead are out of others' reach: few in a small batch
    ahead = max(1, min(MOST_AHEAD, project.batch_size // 4))
    return render(
        request,
        "labelling/label.html",
        project=project,
        round=round,
        ahead=ahead,
    )


@router.get("/projects/{project_id}/label/rest")
def rest(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """What there is to say while no pair is there."""
    project = project_for(db, actor, project_id, "label")
    round = _newest(db, actor, project)
    person = actor.person.id
    return render(
        request,
        "labelling/_rest.html",
        full=round is not None and not actions.may_take(db, project, round, person, 1),
        project=project,
        p=f"/projects/{project.id}",
        round=round,
        can_manage=may(actor, role_in(db, actor.person.id, project.id), "manage"),
        stage_words=STAGE_WORDS,
    )


@router.get("/projects/{project_id}/label/progress")
def progress(project_id: uuid.UUID, actor: PageActor, db: Db) -> dict[str, int]:
    """How far the batch is."""
    project = project_for(db, actor, project_id, "label")
    round = _newest(db, actor, project)
    if round is None:
        return {"done": 0, "needed": 0, "number": 0}
    return {"done": round.answered, "needed": round.needed, "number": round.number}


def _newest(db: Session, actor: Actor, project: Project) -> Round | None:
    """The newest round, as far as its annotators may see."""
    newest = newest_rounds(db, project.id, 1)
    return gold.as_seen_by(db, actor, newest[0]) if newest else None
