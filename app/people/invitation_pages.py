"""Pages of invitations: where a link leads, and making and revoking them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Gone, Problem, TooMany
from app.language import _
from app.people import invitation_queries, invitations, oidc, roles, sessions, text
from app.people.access import COOKIE, Actor, actor_of_cookie, project_for
from app.people.api import set_cookie
from app.people.invitation_api import link_of
from app.people.models import Invitation, Person
from app.people.requests import place_of, site_of
from app.projects.models import Project
from app.settings import get_settings
from app.web import Checked, PageActor, errors_of, go, render, same_origin
from app.web import text as field_of

router = APIRouter(include_in_schema=False)

HELD = "activedpo_invitation"
HELD_SECONDS = 3600
MOST_SHOWN = 100
ROLE_WORDS = {
    "annotator": _("Annotator: labels"),
    "reviewer": _("Reviewer: labels, and settles disagreements"),
    "admin": _("Admin: labels, imports, starts rounds, changes settings"),
    "owner": _("Owner: as an admin, and hands the project on"),
    "member": _("Member: sees the projects they were added to"),
}
SITE_WORDS = {"member": ROLE_WORDS["member"], "admin": _("Admin: sees and may do everything")}
DAYS = (("1", _("A day")), ("7", _("A week")), ("30", _("30 days")), ("90", _("90 days")))


def role_choices(session: Session, actor: Actor, project: Project) -> list[tuple[str, str]]:
    """The roles that the actor may give in a project, the least first, in words."""
    given = roles.given_by(session, actor.person.id, project.id)
    return [(role, ROLE_WORDS[role]) for role in given if role in ROLE_WORDS]


def shown_of(session: Session, project_id: uuid.UUID | None) -> list[invitation_queries.Listed]:
    """The newest invitations into a project (None: the site)."""
    query = invitation_queries.into(project_id).order_by(Invitation.id.desc()).limit(MOST_SHOWN)
    return invitation_queries.listed(session, list(session.scalars(query)))


def made(
    request: Request, session: Session, project: Project | None, by: Person, posted: Any
) -> str:
    """Make the invitation that a form asks for; its link.

    Raises:
        Invalid, Forbidden: as of :func:`app.people.invitations.invite`.
    """
    days, uses = (_whole(field_of(posted, name)) for name in ("days", "uses"))
    _, token = invitations.invite(
        session,
        project,
        field_of(posted, "role"),
        by,
        email=field_of(posted, "email").strip() or None,
        days=days,
        uses=uses,
    )
    return link_of(site_of(request), token)


def _whole(value: str) -> int:
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 9 else 0


def is_invited(request: Request, session: Session) -> bool:
    """Whether this browser holds an invitation that is open."""
    token = request.cookies.get(HELD)
    if not token:
        return False
    try:
        invitations.opened(session, token, place_of(request))
    except Problem:
        return False
    return True


@router.get("/invitation")
def arrive(request: Request, db: Db, link: str = "") -> Response:
    """Where a link leads. Its token moves into a cookie, out of what browsers show and remember."""
    if link:
        response = RedirectResponse("/invitation", 303)
        response.set_cookie(
            HELD,
            link[:100],
            max_age=HELD_SECONDS,
            httponly=True,
            samesite="lax",
            secure=get_settings().secure_cookies,
        )
        return response
    return _page(request, db, {"name": "", "email": ""}, None)


@router.post("/invitation")
def register(
    request: Request,
    db: Db,
    email: Annotated[str, Form(max_length=254)] = "",
    name: Annotated[str, Form(max_length=text.LONGEST_NAME)] = "",
    password: Annotated[str, Form(max_length=text.LONGEST_PASSWORD)] = "",
) -> Response:
    """Make an account, and let it in."""
    same_origin(request)
    place = place_of(request)
    try:
        invitation = invitations.opened(db, request.cookies.get(HELD, ""), place)
        person = invitations.register(db, invitation, email, name, password, place)
        new = sessions.sign_in_as(db, person, request.cookies.get(COOKIE))
    except Problem as problem:
        db.rollback()
        return _page(request, db, {"name": name, "email": email}, problem)
    response = _inside(invitation)
    set_cookie(response, new)
    return response


@router.post("/invitation/join", dependencies=[Checked])
def join(request: Request, actor: PageActor, db: Db) -> Response:
    """Let in who is signed in."""
    try:
        invitation = invitations.opened(db, request.cookies.get(HELD, ""), place_of(request))
        invitations.accept(db, invitation, actor.person)
    except Problem as problem:
        db.rollback()
        return _page(request, db, {"name": "", "email": ""}, problem)
    return _inside(invitation)


def _inside(invitation: Invitation) -> RedirectResponse:
    path = f"/projects/{invitation.project_id}" if invitation.project_id else "/projects"
    response = go(path, "joined")
    response.delete_cookie(
        HELD, httponly=True, samesite="lax", secure=get_settings().secure_cookies
    )
    return response


def _page(
    request: Request, db: Session, v: dict[str, str], problem: Problem | None
) -> HTMLResponse:
    """What the held invitation is of, and the ways to come by it."""
    found, status = None, problem.status if problem else 200
    try:
        found = invitations.opened(db, request.cookies.get(HELD, ""), place_of(request))
    except (Gone, TooMany) as dead:
        problem, status = dead, dead.status
    settings = get_settings()
    token = request.cookies.get(COOKIE)
    here = actor_of_cookie(db, token) if token else None
    return render(
        request,
        "people/invitation.html",
        status,
        invitation=found,
        project=db.get(Project, found.project_id) if found and found.project_id else None,
        by=db.get(Person, found.created_by) if found and found.created_by else None,
        role_words=ROLE_WORDS if found and found.project_id else SITE_WORDS,
        here=here.person if here else None,
        own_csrf=here.sign_in.csrf_token if here and here.sign_in else "",
        v={"name": v["name"], "email": (found.email if found else None) or v["email"]},
        errors=errors_of(problem) if problem else {},
        provider=settings.oidc_name if oidc.configured() else None,
        passwords=settings.password_sign_in,
    )


@router.post("/people/invitations/{invitation_id}/revoke", dependencies=[Checked])
def revoke_site(invitation_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """End an invitation (admins)."""
    actor.require_admin()
    found = invitations.invitation_of(db, invitation_id, None)
    invitations.revoke(db, found, actor.person.id)
    return go("/people", "invitation-revoked")


@router.post("/projects/{project_id}/invitations/{invitation_id}/revoke", dependencies=[Checked])
def revoke(
    project_id: uuid.UUID, invitation_id: uuid.UUID, actor: PageActor, db: Db
) -> RedirectResponse:
    """End an invitation into a project."""
    project = project_for(db, actor, project_id, "manage")
    found = invitations.invitation_of(db, invitation_id, project.id)
    invitations.revoke(db, found, actor.person.id)
    return go(f"/projects/{project.id}/people", "invitation-revoked")
