"""Pages of one's own account: the second step of signing in."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Problem
from app.people import actions, queries, second_factor, sessions
from app.people.access import COOKIE, Actor, second_step_wanted
from app.people.api import set_cookie
from app.people.door import door, speak
from app.people.requests import place_of
from app.web import Checked, PageActor, Posted, go, render, safe_next, same_origin, text

router = APIRouter(include_in_schema=False)


def code_page(
    request: Request, ticket: str, next: str, problem: Problem | None = None
) -> HTMLResponse:
    """The second step at the door."""
    status, error = (problem.status, problem.detail) if problem else (200, None)
    return render(request, "people/second_step.html", status, ticket=ticket, next=next, error=error)


@router.post("/sign-in/code")
def sign_in_code(
    request: Request,
    db: Db,
    ticket: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form(max_length=100)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/projects",
) -> Response:
    """Begin a session for who knew the password and has the code."""
    same_origin(request)
    onward = safe_next(next)
    try:
        new = sessions.sign_in_by_code(
            db, ticket, code, place_of(request), request.cookies.get(COOKIE)
        )
    except sessions.TicketError as problem:
        db.rollback()
        return door(request, onward, problem=problem)
    except Problem as problem:
        db.rollback()
        return code_page(request, ticket, onward, problem)
    response = go(onward)
    set_cookie(response, new)
    return response


@router.get("/account")
def account(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """One's own account: what there is to do about it."""
    return account_page(request, actor, db)


def account_page(
    request: Request, actor: Actor, db: Session, problem: Problem | None = None, **more: Any
) -> HTMLResponse:
    """The page, with what went wrong where something did."""
    context = {"setup": None, "codes": None, **more}
    return render(
        request,
        "people/account.html",
        problem.status if problem else 200,
        section="account",
        on=second_factor.is_on(db, actor.person.id),
        wanted=second_step_wanted(actor.person),
        has_password=sessions.has_password(actor.person),
        chosen=actor.person.language or "",
        left=second_factor.codes_left(db, actor.person.id),
        sessions=sessions.count(db, actor.person.id),
        error=problem.detail if problem else None,
        **context,
    )


@router.post("/account/language")
def choose_language(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Read the pages in another language."""
    try:
        actions.choose_language(db, actor.person, text(form, "language") or None)
    except Problem as problem:
        db.rollback()
        return account_page(request, actor, db, problem)
    response = go("/account", "language")
    speak(response, actor.person.language)
    return response


def _setup(actor: Actor, secret: str) -> dict[str, Any]:
    address = second_factor.address(actor.person, secret)
    spaced = " ".join(secret[n : n + 4] for n in range(0, len(secret), 4))
    return {"secret": spaced, "picture": Markup(second_factor.picture(address))}  # noqa: S704


@router.post("/account/second-factor")
def begin(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Show the secret, to who knows the password."""
    try:
        password, place = text(form, "password"), place_of(request)
        sessions.confirm_self(actor.person, actor.sign_in, password, place)
        secret = second_factor.begin(db, actor.person)
    except Problem as problem:
        db.rollback()
        return account_page(request, actor, db, problem)
    return account_page(request, actor, db, setup=_setup(actor, secret))


@router.post("/account/second-factor/confirm")
def confirm(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Turn it on with a first code; this answer alone shows the recovery codes."""
    keep = actor.sign_in.id if actor.sign_in else None
    try:
        codes = second_factor.confirm(db, actor.person, text(form, "code"), place_of(request), keep)
    except Problem as problem:
        db.rollback()
        try:
            again = _setup(actor, second_factor.pending_secret(db, actor.person.id))
        except Problem:
            again = None
        return account_page(request, actor, db, problem, setup=again)
    return account_page(request, actor, db, codes=codes)


@router.post("/account/second-factor/codes")
def renew(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """New recovery codes, shown this once."""
    try:
        codes = second_factor.renew_codes(db, actor.person, text(form, "code"), place_of(request))
    except Problem as problem:
        db.rollback()
        return account_page(request, actor, db, problem)
    return account_page(request, actor, db, codes=codes)


@router.post("/account/second-factor/off")
def turn_off(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """The password alone from now on."""
    try:
        second_factor.turn_off(db, actor.person, text(form, "code"), place_of(request))
    except Problem as problem:
        db.rollback()
        return account_page(request, actor, db, problem)
    return go("/account", "second-factor-off")


@router.post("/people/{person_id}/second-factor/reset", dependencies=[Checked])
def reset(person_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Take somebody's second step out (admins)."""
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    second_factor.reset(db, person, actor.person.id)
    sessions.sign_out_everywhere(db, person.id)
    return go("/people", "second-factor-reset")
