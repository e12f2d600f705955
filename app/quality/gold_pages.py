"""The page "Gold": pairs whose answer is known, and how they are answered."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import NotFound, Problem
from app.formats import ANSWERS
from app.labelling.models import GoldPair
from app.language import _
from app.paging import Paged
from app.people.access import Actor, project_for
from app.projects.models import Pair, Project, Prompt
from app.projects.pages import shared
from app.quality import gold
from app.quality.queries import Share
from app.web import Checked, PageActor, Posted, go, line_ends, render, text

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/gold")
def gold_page(
    request: Request,
    project_id: uuid.UUID,
    actor: PageActor,
    db: Db,
    page: Paged,
    pair: uuid.UUID | None = None,
) -> HTMLResponse:
    """The gold pairs; with ``pair`` also the form that makes gold of that one."""
    project = project_for(db, actor, project_id, "manage")
    return _page(request, db, actor, project, page, pair)


@router.post("/projects/{project_id}/gold")
def mark(
    request: Request,
    project_id: uuid.UUID,
    actor: PageActor,
    posted: Posted,
    db: Db,
    page: Paged,
) -> Response:
    """Make gold of a labelled pair."""
    project = project_for(db, actor, project_id, "manage")
    try:
        pair = uuid.UUID(text(posted, "pair"))
    except ValueError:
        raise NotFound(_("There is no such pair in this project.")) from None
    explanation = line_ends(text(posted, "explanation")).strip()
    answer = text(posted, "answer") or None
    try:
        gold.mark(
            db, project, pair, answer, explanation[: gold.LONGEST_EXPLANATION], actor.person.id
        )
    except Problem as problem:
        db.rollback()
        return _page(request, db, actor, project, page, pair, problem)
    return go(f"/projects/{project.id}/gold", "gold")


@router.post("/projects/{project_id}/gold/{pair_id}/retire", dependencies=[Checked])
def retire(project_id: uuid.UUID, pair_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Show it to nobody any more."""
    project = project_for(db, actor, project_id, "manage")
    gold.retire(db, project, pair_id, actor.person.id)
    return go(f"/projects/{project.id}/gold", "gold-retired")


def _page(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    page: Paged,
    pair_id: uuid.UUID | None = None,
    problem: Problem | None = None,
) -> HTMLResponse:
    found = page.of(db, gold.listed(project.id), Pair.id, lambda row: row)
    asked = None
    if pair_id is not None:
        query = select(Pair, Prompt.content).join(Prompt, Prompt.id == Pair.prompt_id)
        query = query.where(Pair.id == pair_id, Pair.project_id == project.id)
        asked = db.execute(query.where(Pair.state == "answered")).one_or_none()
    return render(
        request,
        "quality/gold.html",
        problem.status if problem else 200,
        **shared(db, actor, project, "quality"),
        rows=[_row(row) for row in found["items"]],
        next=found["next"],
        asked=asked,
        answers=ANSWERS,
        words=dict(ANSWERS),
        error=problem.detail if problem else None,
    )


def _row(row: tuple[Pair, GoldPair, object, int, int]) -> dict[str, object]:
    pair, known, prompt, answered, right = row
    return {"pair": pair, "gold": known, "prompt": prompt, "right": Share(right, answered)}
