"""The page on which reviewers settle disagreements."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.database import Db
from app.errors import Invalid, Problem
from app.labelling import actions, reviewing
from app.language import _
from app.people.access import Actor, project_for
from app.projects import questions
from app.projects.models import Project
from app.projects.pages import shared
from app.web import PageActor, Posted, go, line_ends, render, text

router = APIRouter(include_in_schema=False)

MOST = 20
CHOICES = {
    "left": _("Left"),
    "right": _("Right"),
    "tie": _("Tie"),
    "both_bad": _("Both bad"),
}
STRENGTHS = {1: _("slightly"), 2: _("clearly"), 3: _("far")}


@router.get("/projects/{project_id}/disagreements")
def index(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """What waits for a reviewer, with what was said of it."""
    return _page(request, db, actor, project_for(db, actor, project_id, "review"))


@router.post("/projects/{project_id}/disagreements/{pair_id}")
def decide(
    request: Request,
    project_id: uuid.UUID,
    pair_id: uuid.UUID,
    actor: PageActor,
    posted: Posted,
    db: Db,
) -> Response:
    """Decide one of them."""
    project = project_for(db, actor, project_id, "review")
    choice = text(posted, "choice")
    rationale = line_ends(text(posted, "rationale")).strip() or None
    said = questions.sent(project.questions, posted.getlist) or None
    try:
        if choice not in CHOICES:
            raise Invalid(_("Choose one of the four."))
        answer = actions.Answer(choice, rationale=rationale, answers=said)
        reviewing.decide(db, project, pair_id, actor, answer)
    except Problem as problem:
        db.rollback()
        return _page(request, db, actor, project, problem, pair_id, posted)
    return go(f"/projects/{project.id}/disagreements", "decided")


def _page(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    problem: Problem | None = None,
    pair_id: uuid.UUID | None = None,
    sent: FormData | None = None,
) -> HTMLResponse:
    found = reviewing.waiting(db, project, actor, MOST + 1)
    return render(
        request,
        "labelling/disagreements.html",
        problem.status if problem else 200,
        **shared(db, actor, project, "disagreements"),
        found=found[:MOST],
        more=len(found) > MOST,
        choices=CHOICES,
        strengths=STRENGTHS,
        error=problem.detail if problem else None,
        sent_for=pair_id,
        sent=sent,
        nothing=FormData(),
    )
