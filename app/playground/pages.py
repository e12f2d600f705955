"""The page of the playground."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Invalid, Problem
from app.formats import prompt_text
from app.language import _
from app.people.access import Actor, project_for
from app.playground import actions
from app.playground.api import TrialIn, trial_for
from app.playground.models import Trial
from app.policies.models import Policy
from app.projects.models import Project
from app.projects.pages import shared
from app.web import Checked, PageActor, Posted, errors_of, go, line_ends, render, texts

router = APIRouter(include_in_schema=False)


@router.get("/projects/{project_id}/playground")
def playground(
    request: Request,
    project_id: uuid.UUID,
    actor: PageActor,
    db: Db,
    trial: uuid.UUID | None = None,
) -> HTMLResponse:
    """The form, and the trial that was asked for last."""
    project = project_for(db, actor, project_id, "manage")
    shown = db.get(Trial, trial) if trial is not None else None
    if shown is not None and shown.project_id != project.id:
        shown = None
    gone = trial is not None and shown is None
    return _page(request, db, actor, project, shown, gone=gone)


@router.post("/projects/{project_id}/playground")
def ask(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Let two policies answer, or show what is wrong."""
    project = project_for(db, actor, project_id, "manage")
    sent = texts(posted)
    try:
        trial = actions.ask(db, project, _wanted(sent), actor.person.id)
    except (Problem, ValidationError) as error:
        db.rollback()
        status = error.status if isinstance(error, Problem) else 422
        return _page(
            request, db, actor, project, None, sent=sent, errors=errors_of(error), status=status
        )
    return go(f"/projects/{project.id}/playground?trial={trial.id}")


def _wanted(sent: dict[str, str]) -> actions.Wanted:
    """What the form asks for.

    Raises:
        Invalid, ValidationError: naming the fields.
    """
    values: dict[str, Any] = {"prompt": line_ends(sent.get("prompt", ""))}
    values |= {side: sent.get(side, "") for side in ("a", "b")}
    for name, kind in (("temperature", float), ("max_new_tokens", int)):
        try:
            values[name] = kind(sent.get(name, ""))
        except ValueError:
            raise Invalid(_("Give a number."), field=name) from None
    return TrialIn.model_validate(values).wanted()


def _page(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    trial: Trial | None,
    *,
    gone: bool = False,
    sent: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HTMLResponse:
    policies = _policies(db, project)
    return render(
        request,
        "playground/playground.html",
        status,
        **shared(db, actor, project, "playground"),
        trial=trial,
        gone=gone,
        policies=policies,
        names=dict(policies),
        v=sent or _filled(project, trial, [id for id, _name in policies]),
        errors=errors or {},
    )


def _policies(db: Session, project: Project) -> list[tuple[str, str]]:
    """What may answer: those with files, the current one first."""
    rows = db.execute(
        select(Policy.id, Policy.number)
        .where(Policy.project_id == project.id, Policy.removed_at.is_(None))
        .order_by((Policy.id == project.policy_id).desc(), Policy.number.desc())
    )
    return [
        (str(id), _("Policy %(number)s", number=number) if number else _("π₀, the base model"))
        for id, number in rows
    ]


def _filled(project: Project, trial: Trial | None, policies: list[str]) -> dict[str, str]:
    """The form as it was sent, or with the current policy against the base."""
    if trial is not None:
        return {
            "prompt": prompt_text(trial.prompt),
            "a": str(trial.policy_a_id),
            "b": str(trial.policy_b_id),
            "temperature": str(trial.generation.get("temperature", "")),
            "max_new_tokens": str(trial.generation.get("max_new_tokens", "")),
        }
    return {
        "prompt": "",
        "a": policies[0] if policies else "",
        "b": policies[-1] if policies else "",
        "temperature": "0.7",
        "max_new_tokens": str(min(4_096, project.generation.get("max_new_tokens", 128))),
    }


@router.get("/trials/{trial_id}/now")
def now(request: Request, trial_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """The answers once they are there; 204 before, so that the page stays as it is."""
    trial, project = trial_for(db, actor, trial_id)
    if trial.state == "waiting":
        return Response(status_code=204)
    names = dict(_policies(db, project))
    p = f"/projects/{project.id}"
    return render(request, "playground/_answers.html", trial=trial, names=names, p=p)


@router.post("/trials/{trial_id}/cancel", dependencies=[Checked])
def cancel(trial_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """Answer it no further."""
    trial, project = trial_for(db, actor, trial_id)
    actions.cancel(db, trial)
    return go(f"/projects/{project.id}/playground?trial={trial.id}")


@router.post("/trials/{trial_id}/keep", dependencies=[Checked])
def keep(trial_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """Make a pair of it."""
    trial, project = trial_for(db, actor, trial_id)
    actions.keep(db, project, trial, actor.person.id)
    return go(f"/projects/{project.id}/playground?trial={trial.id}")
