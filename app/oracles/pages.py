"""The page of a project's oracle: what it does, how far to trust it, attach and detach."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import fault as told
from app.language import _
from app.oracles import actions, addresses, figures, queries, story
from app.oracles.models import Oracle
from app.oracles.schema import AnyOracle, OpenAI, Settings
from app.people.access import Actor, project_for
from app.projects.models import Project
from app.projects.pages import shared
from app.sealed import MASK
from app.web import Checked, PageActor, Posted, go, render, texts

router = APIRouter(include_in_schema=False)

KINDS = (
    ("openai", _("A language model behind an API")),
    ("local_judge", _("A language model on the worker")),
    ("reward_model", _("A reward model on the worker")),
    ("sentiment", _("The friendlier text (VADER)")),
    ("length", _("The longer or shorter text")),
    ("regex", _("The text with more matches")),
    ("callable", _("An installed function")),
)
MODES = (
    ("alone", _("Alone: what it abstains from is replaced")),
    ("first", _("First: people get what it abstains from")),
    ("people_first", _("After people: it fills what is left after a time")),
    ("with_people", _("Beside people, in slots of its own")),
)
TEMPLATES = {
    "helpfulness": _("Helpfulness"),
    "harmlessness": _("Harmlessness"),
    "summary": _("Summary"),
    "sentiment": _("Sentiment"),
    "custom": _("Custom"),
}
STATES = {
    "active": _("works"),
    "waiting": _("in trouble"),
    "stopped": _("stopped"),
}
_ASKS = ("template", "criteria")
FIELDS = {
    "openai": ("base_url", "model", "api_key", "concurrency", "budget", "logprobs", *_ASKS),
    "local_judge": ("model", *_ASKS),
    "reward_model": ("model",),
    "regex": ("pattern",),
    "callable": ("callable",),
}
MIXED = {
    "first": ("abstain_below", "audit_to_people"),
    "people_first": ("fill_after", "abstain_below"),
    "with_people": (),
    "alone": ("abstain_below",),
}
NAMES = (
    "kind",
    "mode",
    "abstain_below",
    "audit_to_people",
    "fill_after",
    *sorted({name for names in FIELDS.values() for name in names}),
)
NUMBERS = {"concurrency": int, "budget": float, "fill_after": float, "abstain_below": float}
SWITCHES = ("logprobs", "audit_to_people")
_adapter: TypeAdapter[Any] = TypeAdapter(AnyOracle)


@router.get("/projects/{project_id}/oracle")
def look(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """The oracle as it is, and the form."""
    project = project_for(db, actor, project_id, "manage")
    return _page(request, db, actor, project)


@router.post("/projects/{project_id}/oracle")
def attach(
    request: Request, project_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Attach what the form says, or show what is wrong."""
    project = project_for(db, actor, project_id, "manage")
    sent = texts(posted)
    try:
        settings: Settings = _adapter.validate_python(_parsed(sent))
    except ValidationError as error:
        return _page(request, db, actor, project, sent, _errors(error))
    problem = addresses.refusal(settings.base_url) if isinstance(settings, OpenAI) else None
    if problem:
        return _page(
            request, db, actor, project, sent, {"base_url": _("It %(problem)s.", problem=problem)}
        )
    actions.attach(db, project, settings)
    return go(f"/projects/{project.id}/oracle", "oracle-attached")


@router.post("/projects/{project_id}/oracle/detach", dependencies=[Checked])
def detach(project_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """End it."""
    project = project_for(db, actor, project_id, "manage")
    if queries.attached(db, project.id) is not None:
        actions.detach(db, project)
    return go(f"/projects/{project.id}/oracle", "oracle-detached")


def _parsed(sent: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the chosen kind knows; what was left empty keeps its default."""
    kind = sent.get("kind", "")
    mode = sent.get("mode", "alone")
    values: dict[str, Any] = {"kind": kind, "mode": mode}
    for name in (*FIELDS.get(kind, ()), *MIXED.get(mode, ())):
        value = sent.get(name, "").strip()
        if value:
            values[name] = value == "on" if name in SWITCHES else _number(name, value)
    return values


def _number(name: str, value: str) -> Any:
    try:
        return NUMBERS[name](value) if name in NUMBERS else value
    except ValueError:
        return value  # the schema says what is wrong with it


def _errors(error: ValidationError) -> dict[str, str]:
    found = {}
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][-1]) if len(fault["loc"]) > 1 else ""
        found[name] = told(fault)
    return found


def _page(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    sent: Mapping[str, str] | None = None,
    errors: dict[str, str] | None = None,
) -> HTMLResponse:
    oracle = queries.attached(db, project.id)
    values = _filled(oracle) if sent is None else {**sent, "api_key": ""}  # a key is not sent back
    return render(
        request,
        "oracles/oracle.html",
        422 if errors else 200,
        **shared(db, actor, project, "oracle"),
        oracle=oracle,
        figures=figures.figures(db, oracle) if oracle else None,
        notice=story.notice(db, oracle) if oracle else None,
        v={**dict.fromkeys(NAMES, ""), **values},
        errors=errors or {},
        kinds=KINDS,
        kind_names=dict(KINDS),
        modes=MODES,
        templates=list(TEMPLATES.items()),
        state_words=STATES,
    )


def _filled(oracle: Oracle | None) -> dict[str, Any]:
    if oracle is None:
        return {"kind": "openai", "mode": "alone", "concurrency": 8, "fill_after": 3600}
    secret = {"api_key": MASK} if oracle.secret else {}
    return {**oracle.settings, **secret, "kind": oracle.kind, "mode": oracle.mode}
