"""The labelling page, and the two small answers that it asks for in between."""

from __future__ import annotations

import uuid
from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.database import Db
from app.errors import Invalid, NotFound, Problem
from app.evaluations import queries as evaluations
from app.labelling import (
    actions,
    api,
    gold,
    leases,
    markup,
    practice,
    practice_pages,
    queries,
    reviewing_pages,
    shortcuts,
    shortcuts_pages,
    way_pages,
)
from app.language import _
from app.people.access import Actor, may, project_for, role_in
from app.projects import questions
from app.projects.figures import newest_rounds
from app.projects.models import Project
from app.rounds.models import Round
from app.rounds.story import STAGE_WORDS
from app.web import PageActor, Posted, errors_of, go, line_ends, render, text

router = APIRouter(include_in_schema=False)
router.include_router(practice_pages.router)
router.include_router(reviewing_pages.router)
router.include_router(way_pages.router)
router.include_router(shortcuts_pages.router)

MOST_AHEAD = 4


@router.get("/projects/{project_id}/label")
def label_page(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """One pair at a time. The first is on the page as it comes, and may be answered without a
    script; the script claims the further ones and sends the answers. Where asked: practice."""
    project = project_for(db, actor, project_id, "label")
    if practice.is_asked(db, project, actor):
        return go(f"/projects/{project.id}/practice")
    return _page(request, db, actor, project)


@router.post("/projects/{project_id}/label/{claim_id}")
def answer(
    request: Request,
    project_id: uuid.UUID,
    claim_id: uuid.UUID,
    actor: PageActor,
    form: Posted,
    db: Db,
) -> Response:
    """The answer of a browser without the script, or before the script was there."""
    project = project_for(db, actor, project_id, "label")
    if queries.project_of(db, claim_id) != project.id:
        raise NotFound(_("There is no such claim of yours."))
    try:
        said = _said(form, project).answer(project)
        actions.prefer(db, claim_id, actor.person.id, said)
    except Problem as problem:
        db.rollback()
        return _page(request, db, actor, project, problem, form)
    return go(f"/projects/{project.id}/label")


def _said(form: FormData, project: Project) -> api.PreferenceIn:
    choice = text(form, "choice")
    why = line_ends(text(form, "why")).strip() or None
    strength = text(form, "strength")
    sided = choice in ("left", "right") and strength.isdigit()
    values = {
        "choice": choice,
        "strength": int(strength) if sided else None,
        "flags": [flag for flag in form.getlist("flag") if isinstance(flag, str)] or None,
        "reason" if choice == "skip" else "rationale": why,
        "answers": questions.sent(project.questions, form.getlist) or None,
    }
    try:
        return api.PreferenceIn.model_validate(values)
    except ValidationError as error:
        wrong = [f"{field}: {message}" for field, message in errors_of(error).items()]
        raise Invalid("; ".join(wrong)) from None


def _page(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    problem: Problem | None = None,
    sent: FormData | None = None,
) -> HTMLResponse:
    # Pairs claimed ahead are out of others' reach: few in a small batch
    ahead = max(1, min(MOST_AHEAD, project.batch_size // 4))
    claimed = _to_begin_with(request, db, actor, project, 1 + ahead)
    first = claimed[0] if claimed else None
    round = _newest(db, actor, project)
    return render(
        request,
        "labelling/label.html",
        problem.status if problem else 200,
        project=project,
        round=round,
        ahead=ahead,
        **shortcuts.for_page(actor.person.shortcuts),
        claims=jsonable_encoder([api.claim_view(one, html=True) for one in claimed]),
        role_words=markup.ROLES,
        drawn=markup.drawn(first.prompt, first.left, first.right) if first else None,
        sent=sent or FormData(),
        errors=errors_of(problem) if problem else {},
        **_progress(db, project, actor.person.id, round),
    )


def _to_begin_with(
    request: Request, db: Session, actor: Actor, project: Project, wanted: int
) -> list[actions.ClaimedPair]:
    """Pairs to begin with: what is held already, and new ones.

    What is held is renewed, so that the page from which one came back or reloaded, and which gives
    back what it knows of, takes nothing away from this one.
    """
    held = []
    for claimed in actions.held_claims(db, project, actor.person.id):
        with suppress(Problem):  # gone in this very moment
            leases.renew(db, project, claimed.claim.id, actor.person.id)
            held.append(claimed)
    if len(held) >= wanted or "prefetch" in request.headers.get("Sec-Purpose", ""):
        return held  # nobody reads a page that is fetched in case somebody might
    return held + actions.claim_pairs(db, project, actor.person.id, wanted - len(held))


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
        evaluating=project.has_evaluation and evaluations.standing(db, project.id)[1] > 0,
        project=project,
        p=f"/projects/{project.id}",
        round=round,
        can_manage=may(actor, role_in(db, actor.person.id, project.id), "manage"),
        stage_words=STAGE_WORDS,
    )


@router.get("/projects/{project_id}/label/progress")
def progress(project_id: uuid.UUID, actor: PageActor, db: Db) -> dict[str, int]:
    """How far the batch is, or the evaluation whose pairs come before it."""
    project = project_for(db, actor, project_id, "label")
    return _progress(db, project, actor.person.id, _newest(db, actor, project))


def _progress(
    db: Session, project: Project, person_id: uuid.UUID, round: Round | None
) -> dict[str, int]:
    if project.has_evaluation and evaluations.left_for(db, project.id, person_id, held=True):
        done, needed = evaluations.standing(db, project.id)
        return {"done": done, "needed": needed, "number": 0}
    if round is None:
        return {"done": 0, "needed": 0, "number": 0}
    return {"done": round.answered, "needed": round.needed, "number": round.number}


def _newest(db: Session, actor: Actor, project: Project) -> Round | None:
    """The newest round, as far as its annotators may see."""
    newest = newest_rounds(db, project.id, 1)
    return gold.as_seen_by(db, actor, newest[0]) if newest else None
