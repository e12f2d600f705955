"""Pages about passwords and sessions: changing, setting by a link, ending everywhere."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.database import Db
from app.errors import Invalid, Problem
from app.people import account_pages, actions, password_links, queries, sessions
from app.people.api import clear_cookie
from app.people.password_api import link_of
from app.people.requests import place_of, site_of
from app.people.text import LONGEST_PASSWORD
from app.settings import get_settings
from app.web import Checked, PageActor, Posted, go, render, same_origin, text

router = APIRouter(include_in_schema=False)
HELD = "activedpo_password_link"
HELD_SECONDS = 3600


@router.post("/account/password")
def change_password(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Change one's own password; every other session ends."""
    keep = actor.sign_in.id if actor.sign_in else None
    try:
        sessions.confirm_password(actor.person, text(form, "current"), place_of(request))
        actions.set_password(db, actor.person, text(form, "new"), keep=keep)
    except Problem as problem:
        db.rollback()
        return account_pages.account_page(request, actor, db, problem)
    return go("/account", "password")


@router.post("/account/sessions/end", dependencies=[Checked])
def end_sessions(actor: PageActor, db: Db) -> RedirectResponse:
    """Sign out everywhere, here as well."""
    sessions.sign_out_everywhere(db, actor.person.id)
    response = go("/sign-in")
    clear_cookie(response)
    return response


@router.post("/people/{person_id}/password-link", dependencies=[Checked])
def make_link(request: Request, person_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Make a link for who forgot their password (admins); this answer alone shows it."""
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    token, expires = password_links.make(db, person, actor.person)
    return render(
        request,
        "people/password_link.html",
        section="people",
        of=person,
        link=link_of(site_of(request), token),
        expires=expires,
    )


@router.get("/password")
def arrive(request: Request, db: Db, link: str = "") -> Response:
    """Where a link leads. Its token moves into a cookie, out of what browsers show and remember."""
    if not link:
        return _form(request, db)
    response = RedirectResponse("/password", 303)
    secure = get_settings().secure_cookies
    response.set_cookie(
        HELD, link[:100], HELD_SECONDS, httponly=True, samesite="lax", secure=secure
    )
    return response


@router.post("/password")
def set_password(
    request: Request,
    db: Db,
    password: Annotated[str, Form(max_length=LONGEST_PASSWORD)] = "",
) -> Response:
    """Set it, and lead to the door."""
    same_origin(request)
    try:
        password_links.use(db, request.cookies.get(HELD, ""), password, place_of(request))
    except Problem as problem:
        db.rollback()
        return _form(request, db, problem)
    response = go("/sign-in")
    _forget(response)
    clear_cookie(response)
    return response


def _forget(response: Response) -> None:
    secure = get_settings().secure_cookies
    response.delete_cookie(HELD, httponly=True, samesite="lax", secure=secure)


def _form(request: Request, db: Db, problem: Problem | None = None) -> HTMLResponse:
    email = None
    if problem is None or isinstance(problem, Invalid):  # else the link opens nothing
        try:
            email = password_links.opened(
                db, request.cookies.get(HELD, ""), place_of(request)
            ).person.email
        except Problem as dead:
            problem = dead
    status, error = (problem.status, problem.detail) if problem else (200, None)
    return render(request, "people/password.html", status, email=email, error=error)
