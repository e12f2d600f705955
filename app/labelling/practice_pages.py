"""Pages of practice: guidelines first, then pair by pair with what it was worth; its setting up."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Conflict, Problem
from app.formats import ANSWERS
from app.labelling import markup, practice, practice_setup, shortcuts
from app.labelling.practice_models import PracticeAnswer, PracticePair
from app.language import _, pgettext
from app.people.access import Actor, project_for
from app.projects.models import Project
from app.projects.pages import shared
from app.web import Checked, PageActor, Posted, errors_of, go, line_ends, render, text, texts

router = APIRouter(include_in_schema=False)

WORDS = {
    "left": pgettext("side", "Left"),
    "right": pgettext("side", "Right"),
    "tie": _("A tie"),
    "both_bad": _("Both bad"),
}
TOLD = {
    "left": _("left is better."),
    "right": _("right is better."),
    "tie": _("a tie."),
    "both_bad": _("both are bad."),
}


@router.get("/projects/{project_id}/practice")
def practice_page(
    request: Request, project_id: uuid.UUID, actor: PageActor, db: Db, begin: bool = False
) -> HTMLResponse:
    """The guidelines, the next pair, what the last answer was worth, or how the try went."""
    project = project_for(db, actor, project_id, "label")
    at = practice.standing(db, project, actor.person.id)
    step = "pair" if at.answered or begin else "result" if at.last else "start"
    return _step(request, db, actor, project, at, step if at.pairs else "none")


@router.post("/projects/{project_id}/practice/{practice_id}")
def answer(
    request: Request,
    project_id: uuid.UUID,
    practice_id: uuid.UUID,
    actor: PageActor,
    posted: Posted,
    db: Db,
) -> Response:
    """Take an answer and say at once what it was worth."""
    project = project_for(db, actor, project_id, "label")
    try:
        given, _ = practice.answer(
            db, project, actor.person.id, practice_id, text(posted, "choice")
        )
    except Conflict:  # sent twice, or in two tabs: show where one is
        db.rollback()
        return go(f"/projects/{project_id}/practice?begin=1")
    at = practice.standing(db, project, actor.person.id)
    return _step(request, db, actor, project, at, "told", given)


def _step(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    at: practice.Standing,
    step: str,
    given: PracticeAnswer | None = None,
) -> HTMLResponse:
    pair, left_is = at.next, at.left_is
    if given is not None:
        pair, left_is = db.get_one(PracticePair, given.pair_id), given.left_is
    return render(
        request,
        "labelling/practice.html",
        **shared(db, actor, project, "practice"),
        step=step,
        at=at,
        asked=practice.is_asked(db, project, actor),
        number=_number(at, given),
        over=given is not None and not at.answered,
        pair=_texts(pair, left_is) if pair and step in ("pair", "told") else None,
        given=given,
        words=WORDS,
        told=TOLD,
        role_words=markup.ROLES,
        **shortcuts.for_page(actor.person.shortcuts),
        answer=_by_side(pair.answer, left_is) if pair else "",
        explanation=pair.explanation if given is not None and pair else "",
    )


def _number(at: practice.Standing, given: PracticeAnswer | None) -> int:
    """Which pair of its try is shown, from 1; the answer that ended the try was its last."""
    if given is None:
        return len(at.answered) + 1
    return len(at.answered) or at.pairs


def _texts(pair: PracticePair, left_is: str) -> dict[str, Any]:
    left, right = practice.by_sides(pair, left_is)
    return {"id": pair.id, **markup.drawn(pair.prompt, left, right)}


def _by_side(answer: str, left_is: str) -> str:
    if answer in ("a", "b"):
        return "left" if answer == left_is else "right"
    return answer


@router.get("/projects/{project_id}/practice/pairs")
def setup(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """The practice pairs, a form for one more, and how everybody's practice went."""
    return _setup(request, db, actor, project_for(db, actor, project_id, "manage"), {}, {})


@router.post("/projects/{project_id}/practice-pairs")
def add(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Add a practice pair, or show what is wrong."""
    project = project_for(db, actor, project_id, "manage")
    sent = {name: line_ends(value) for name, value in texts(posted).items()}
    try:
        practice_setup.add(db, project, practice_setup.checked(sent), actor.person.id)
    except Problem as problem:
        db.rollback()
        return _setup(request, db, actor, project, sent, errors_of(problem), problem.status)
    return go(f"/projects/{project.id}/practice/pairs", "practice")


@router.post("/projects/{project_id}/practice-pairs/{practice_id}/remove", dependencies=[Checked])
def remove(project_id: uuid.UUID, practice_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Take a practice pair out."""
    project = project_for(db, actor, project_id, "manage")
    practice_setup.remove(db, project, practice_id, actor.person.id)
    return go(f"/projects/{project.id}/practice/pairs", "practice")


@router.post("/projects/{project_id}/practice-results/{person_id}/reset", dependencies=[Checked])
def reset(project_id: uuid.UUID, person_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Let somebody practise anew."""
    project = project_for(db, actor, project_id, "manage")
    practice_setup.reset(db, project, person_id, actor.person.id)
    return go(f"/projects/{project.id}/practice/pairs", "practice-reset")


def _setup(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    sent: dict[str, str],
    errors: dict[str, str],
    status: int = 200,
) -> HTMLResponse:
    blank = dict.fromkeys(("prompt", "completion_a", "completion_b", "answer", "explanation"), "")
    return render(
        request,
        "labelling/practice_pairs.html",
        status,
        **shared(db, actor, project, "quality"),
        pairs=practice.pairs_of(db, project.id),
        results=practice_setup.results(db, project),
        answers=ANSWERS,
        answer_words=dict(ANSWERS),
        v={**blank, **sent},
        errors=errors,
    )
