"""Pages of people: signing in and out, who is here, API keys."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Problem
from app.language import _, languages
from app.paging import Page
from app.people import (
    account_pages,
    actions,
    group_pages,
    invitation_pages,
    oidc_pages,
    password_pages,
    queries,
    sessions,
)
from app.people.access import COOKIE, Actor, actor_of_cookie, project_for
from app.people.api import clear_cookie, set_cookie
from app.people.door import door, speak
from app.people.models import ApiKey, Person
from app.people.requests import place_of
from app.projects.models import Project
from app.projects.queries import visible_projects
from app.web import Checked, PageActor, Posted, errors_of, go, render, safe_next, same_origin, text

router = APIRouter(include_in_schema=False)
router.include_router(account_pages.router)
router.include_router(oidc_pages.router)
router.include_router(invitation_pages.router)
router.include_router(group_pages.router)
router.include_router(password_pages.router)  # before the routes that take any verb

SCOPES = {
    "annotator": _("Label: claim pairs and answer them"),
    "oracle": _("Label as an oracle"),
    "admin": _("Everything you may"),
}
SCOPE_WORDS = {
    "annotator": _("label"),
    "oracle": _("label as an oracle"),
    "admin": _("everything you may"),
}
MOST_PEOPLE = 500


@router.get("/sign-in")
def sign_in_page(request: Request, db: Db, next: str = "/projects") -> Response:
    """The door; who is inside already is sent on."""
    token = request.cookies.get(COOKIE)
    if token and actor_of_cookie(db, token) is not None:
        return go(safe_next(next))
    return door(request, safe_next(next))


@router.post("/sign-in")
def sign_in(
    request: Request,
    db: Db,
    email: Annotated[str, Form(max_length=254)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/projects",
) -> Response:
    """Begin a session, or say that it did not work."""
    same_origin(request)
    try:
        new = sessions.sign_in(db, email, password, place_of(request), request.cookies.get(COOKIE))
    except sessions.SecondStepNeeded as step:
        db.rollback()
        return account_pages.code_page(request, step.ticket, safe_next(next))
    except Problem as problem:
        db.rollback()
        return door(request, safe_next(next), email, problem)
    response = go(safe_next(next))
    set_cookie(response, new)
    return response


@router.post("/language")
def choose_language(
    request: Request,
    language: Annotated[str, Form(max_length=20)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/projects",
) -> Response:
    """Speak another language at the door, and to whoever has chosen none of their own."""
    same_origin(request)
    response = go(f"/sign-in?next={quote(safe_next(next), safe='')}")
    speak(response, language if language in languages() else None)
    return response


@router.post("/sign-out", dependencies=[Checked])
def sign_out(request: Request, db: Db) -> RedirectResponse:
    """End the session."""
    sessions.sign_out(db, request.cookies[COOKIE])
    response = go("/sign-in")
    clear_cookie(response)
    return response


@router.get("/people")
def people(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """Everybody who can sign in (admins)."""
    actor.require_admin()
    return _people(request, db, {"email": "", "name": "", "role": "member"}, {})


@router.post("/people")
def add_person(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Add somebody."""
    actor.require_admin()
    values = {name: text(form, name) for name in ("email", "name", "role")}
    try:
        actions.add_person(db, **values, password=text(form, "password"))
    except Problem as problem:
        db.rollback()
        return _people(request, db, values, errors_of(problem), problem.status)
    return go("/people", "person-added")


@router.post("/people/invitations")
def invite(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Make a link to an account here; this answer is the only one that ever shows it."""
    actor.require_admin()
    blank = {"email": "", "name": "", "role": "member"}
    try:
        link = invitation_pages.made(request, db, None, actor.person, form)
    except Problem as problem:
        db.rollback()
        return _people(request, db, blank, {}, problem.status, refused=problem.detail)
    return _people(request, db, blank, {}, link=link)


def _people(
    request: Request,
    db: Session,
    v: dict[str, str],
    errors: dict[str, str],
    status: int = 200,
    *,
    link: str | None = None,
    refused: str | None = None,
) -> HTMLResponse:
    everybody = Page(MOST_PEOPLE).of(db, queries.people(), Person.id, lambda row: row)
    return render(
        request,
        "people/index.html",
        status,
        section="people",
        people=everybody["items"],
        second=queries.with_second_factor(db),
        v=v,
        errors=errors,
        role_words={"admin": _("admin"), "member": _("member")},
        invitations=invitation_pages.shown_of(db, None),
        invited_to="/people/invitations",
        invited_roles=list(invitation_pages.SITE_WORDS.items()),
        days=invitation_pages.DAYS,
        link=link,
        refused=refused,
    )


@router.post("/people/{person_id}/{verb}", dependencies=[Checked])
def change_person(
    person_id: uuid.UUID, verb: Literal["activate", "deactivate"], actor: PageActor, db: Db
) -> RedirectResponse:
    """Deactivate or activate somebody; their labels stay either way."""
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    actions.change_person(db, person, active=verb == "activate")
    return go("/people", "person-changed")


@router.get("/keys")
def keys(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """One's own API keys."""
    return _keys(request, actor, db)


@router.post("/keys")
def add_key(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Make a key; this answer is the only one that ever shows it."""
    values = {name: text(form, name) for name in ("name", "scope", "project_id")}
    try:
        project_id = uuid.UUID(values["project_id"]) if values["project_id"] else None
        if project_id is not None:
            project_for(db, actor, project_id, "view")
        __, secret = actions.add_key(
            db, actor.person, values["scope"], values["name"][:200], project_id
        )
    except (Problem, ValueError) as problem:
        db.rollback()
        unknown: dict[str, str] = {"project_id": _("unknown")}
        errors = errors_of(problem) if isinstance(problem, Problem) else unknown
        return _keys(request, actor, db, values, errors, status=422)
    return _keys(request, actor, db, secret=secret)


@router.post("/keys/{key_id}/revoke", dependencies=[Checked])
def revoke_key(key_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """End a key."""
    actions.revoke_key(db, queries.key_for(db, actor, key_id), actor.person.id)
    return go("/keys", "key-revoked")


def _keys(
    request: Request,
    actor: Actor,
    db: Session,
    v: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    secret: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    query = queries.keys_for(actor).where(ApiKey.person_id == actor.person.id)
    own = Page(MOST_PEOPLE).of(db, query, ApiKey.id, lambda row: row)["items"]
    seen = Page(MOST_PEOPLE).of(db, visible_projects(actor), Project.id, lambda row: row)["items"]
    names = {project.id: project.name for project in seen}
    return render(
        request,
        "people/keys.html",
        status,
        section="keys",
        keys=own[::-1],
        secret=secret,
        scopes=list(SCOPES.items()),
        scope_words=SCOPE_WORDS,
        projects=[("", _("All my projects")), *((str(k), v) for k, v in names.items())],
        project_names=names,
        v=v or {"name": "", "scope": "annotator", "project_id": ""},
        errors=errors or {},
    )
