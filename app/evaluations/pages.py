"""Pages of blind evaluations: the list with the form of a new one, and one with its result."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile

from app.database import Db
from app.errors import Invalid, NotFound, Problem
from app.evaluations import actions, outputs, queries, view
from app.evaluations.api import EvaluationIn, evaluation_for
from app.evaluations.models import OVER, Evaluation, Outputs
from app.language import _
from app.people.access import Actor, project_for
from app.policies.models import Policy
from app.projects.figures import figures
from app.projects.models import Project
from app.projects.pages import shared
from app.projects.row import Rejected, Row
from app.projects.upload import BY_SUFFIX
from app.web import Checked, PageActor, Posted, errors_of, go, render, text, texts

router = APIRouter(include_in_schema=False)

MOST_SHOWN = 200
BLANK = {
    "a": "",
    "b": "",
    "prompts": "eval",
    "sample": "",
    "overlap": "1",
    "answered_by": "people",
    "alpha": "0.05",
    "stop_early": "on",
    "temperature": "0.25",
    "max_new_tokens": "",
}
STATE_WORDS = {
    "generating": _("Completions are being written"),
    "open": _("Taking answers"),
    "decided": _("Decided"),
    "closed": _("Closed"),
    "failed": _("Failed"),
    "cancelled": _("Cancelled"),
}


@router.get("/projects/{project_id}/evaluations")
def evaluations_page(
    request: Request, project_id: uuid.UUID, actor: PageActor, db: Db
) -> HTMLResponse:
    """Every evaluation of a project, the newest first, and what a new one may compare."""
    return _index(request, db, actor, project_for(db, actor, project_id, "manage"))


@router.post("/projects/{project_id}/evaluations")
def create(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Open an evaluation, or show what is wrong."""
    project = project_for(db, actor, project_id, "manage")
    sent = texts(posted)
    try:
        evaluation = actions.create(db, project, _asked(sent), actor.person.id)
    except (Problem, ValidationError) as error:
        db.rollback()
        values = {name: sent.get(name, "") for name in BLANK}
        return _index(request, db, actor, project, values=values, errors=_errors(error))
    return go(f"/evaluations/{evaluation.id}")


def _asked(sent: dict[str, str]) -> actions.Asked:
    """What a form asks for.

    Raises:
        Invalid, ValidationError: naming the fields.
    """
    values: dict[str, Any] = {"stop_early": sent.get("stop_early") == "on"}
    for side in ("a", "b"):
        kind, id = [*sent.get(side, "").split(":", 1), ""][:2]
        if kind not in ("policy", "outputs"):
            raise Invalid(_("Choose what to compare."), field=side)
        values[side] = {kind: id}
    for name in ("prompts", "answered_by"):
        values[name] = sent.get(name, "")
    for name, number in (
        ("sample", int),
        ("overlap", int),
        ("alpha", float),
        ("temperature", float),
        ("max_new_tokens", int),
    ):
        if word := sent.get(name, "").strip():
            values[name] = _number(name, word, number)
    return EvaluationIn.model_validate(values).asked()


def _number(name: str, word: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(word)
    except ValueError:
        whole, any_ = _("Give a whole number."), _("Give a number.")
        raise Invalid(whole if kind is int else any_, field=name) from None


def _errors(error: Problem | ValidationError) -> dict[str, str]:
    return {field.partition(".")[0]: message for field, message in errors_of(error).items()}


def _index(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    *,
    values: dict[str, str] = BLANK,
    errors: dict[str, str] | None = None,
    imported: dict[str, Any] | None = None,
    status: int = 200,
) -> HTMLResponse:
    newest = queries.listed(project.id).order_by(Evaluation.number.desc()).limit(MOST_SHOWN)
    found = list(db.scalars(newest))
    made = list(db.scalars(queries.outputs_of(project.id).order_by(Outputs.name)))
    return render(
        request,
        "evaluations/index.html",
        422 if errors else status,
        **shared(db, actor, project, "evaluations"),
        evaluations=[(one, view.result(db, one)) for one in found],
        names=queries.side_names(db, found),
        outputs=made,
        used={one.id for one in made if queries.uses_outputs(db, one.id)},
        sides=_sides(db, project, made),
        figures=figures(db, project.id),
        words=STATE_WORDS,
        v=values,
        errors=errors or {},
        imported=imported,
    )


def _sides(db: Session, project: Project, made: list[Outputs]) -> list[tuple[str, str]]:
    """What may be compared, the current policy first."""
    policies = db.execute(
        select(Policy.id, Policy.number)
        .where(Policy.project_id == project.id, Policy.removed_at.is_(None))
        .order_by((Policy.id == project.policy_id).desc(), Policy.number.desc())
    ).all()
    named: list[tuple[str, str]] = [
        (
            f"policy:{id}",
            _("Policy %(number)s", number=number) if number else _("π₀, the base model"),
        )
        for id, number in policies
    ]
    return named + [(f"outputs:{one.id}", _("Outputs: %(name)s", name=one.name)) for one in made]


@router.post("/projects/{project_id}/outputs")
def add_outputs(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Import another model's completions from a file."""
    project = project_for(db, actor, project_id, "manage")
    try:
        made, outcome = outputs.import_outputs(
            db, project, text(posted, "name"), _rows(posted), actor.person.id
        )
    except Problem as problem:
        db.rollback()
        refused: dict[str, Any] = {"error": problem.detail, "rejected": []}
        return _index(request, db, actor, project, imported=refused, status=problem.status)
    if not outcome.rejected_total:
        return go(f"/projects/{project.id}/evaluations", "outputs")
    told = {"name": made.name, **outcome.view(), "rejected_total": outcome.rejected_total}
    return _index(request, db, actor, project, imported=told)


def _rows(posted: FormData) -> Iterable[Row | Rejected]:
    file = posted.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Invalid(_("Choose a file."), field="file")
    format = BY_SUFFIX.get(PurePath(file.filename).suffix.lower())
    if format is None:
        raise Invalid(outputs.WHICH_FILES, field="file")
    return outputs.rows_of(file.file, format)


@router.post("/projects/{project_id}/outputs/{outputs_id}/remove", dependencies=[Checked])
def remove_outputs(
    project_id: uuid.UUID, outputs_id: uuid.UUID, actor: PageActor, db: Db
) -> RedirectResponse:
    """Delete imported outputs that nothing compares."""
    project = project_for(db, actor, project_id, "manage")
    made = db.get(Outputs, outputs_id)
    if made is None or made.project_id != project.id:
        raise NotFound(_("There are no such outputs in this project."))
    outputs.remove(db, made, actor.person.id)
    return go(f"/projects/{project.id}/evaluations", "outputs-removed")


@router.get("/evaluations/{evaluation_id}")
def evaluation_page(
    request: Request, evaluation_id: uuid.UUID, actor: PageActor, db: Db
) -> HTMLResponse:
    """One evaluation: how far it is, what came of it, who answered."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    return render(request, "evaluations/evaluation.html", **_context(db, actor, evaluation))


@router.get("/evaluations/{evaluation_id}/now")
def now(request: Request, evaluation_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """The part of the page that moves, for as long as it does."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    return render(request, "evaluations/_live.html", **_context(db, actor, evaluation))


def _context(db: Session, actor: Actor, evaluation: Evaluation) -> dict[str, Any]:
    project = db.get_one(Project, evaluation.project_id)
    names = queries.side_names(db, [evaluation])
    a, b = (
        names[id]
        for id in (
            evaluation.policy_a_id or evaluation.outputs_a_id,
            evaluation.policy_b_id or evaluation.outputs_b_id,
        )
        if id is not None
    )
    return {
        **shared(db, actor, project, "evaluations"),
        "evaluation": evaluation,
        "a": a,
        "b": b,
        "result": view.result(db, evaluation),
        "annotators": view.annotators(db, evaluation),
        "words": STATE_WORDS,
        "over": evaluation.state in OVER,
    }


@router.post("/evaluations/{evaluation_id}/{verb}", dependencies=[Checked])
def act(
    evaluation_id: uuid.UUID,
    verb: Literal["cancel", "close", "retry"],
    actor: PageActor,
    db: Db,
) -> RedirectResponse:
    """Cancel, close or retry."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    does = {"cancel": actions.cancel, "close": actions.close, "retry": actions.retry}[verb]
    does(db, evaluation, actor.person.id)
    done = "evaluation-cancelled" if verb == "cancel" else None
    return go(f"/evaluations/{evaluation.id}", done)
