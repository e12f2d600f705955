"""Invitations over HTTP: make, list, revoke, and come by one."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Forbidden
from app.idempotency.route import Once, OnceRoute
from app.language import _
from app.paging import Paged
from app.people import invitation_queries, invitations, queries
from app.people.access import Actor, CurrentActor, project_for
from app.people.models import Invitation
from app.people.requests import place_of, site_of
from app.projects.models import Project
from app.storable import Text

router = APIRouter(route_class=OnceRoute)

Email = Annotated[Text, Field(max_length=254)]
Days = Annotated[
    int, Field(ge=1, le=invitations.LONGEST_DAYS, strict=True, description="Until it ends.")
]
Uses = Annotated[
    int, Field(ge=1, le=invitations.MOST_USES, strict=True, description="How many may come by it.")
]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Annotated[Email | None, Field(description="Whom alone it is for.")] = None
    days: Days = 7
    uses: Uses = 1


class InvitationIn(_In):
    """An invitation into a project."""

    role: Literal["owner", "admin", "reviewer", "annotator", "oracle"] = "annotator"


class SiteInvitationIn(_In):
    """An invitation into the site."""

    role: Literal["admin", "member"] = "member"


class TokenIn(BaseModel):
    """What the link holds behind ``link=``."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[Text, Field(max_length=100)]


class NewcomerIn(TokenIn):
    """Who comes by an invitation without an account."""

    email: Email
    name: Annotated[Text, Field(max_length=200)]
    password: SecretStr


def link_of(site: str, token: str) -> str:
    """The address to give to whom is invited; what is in a query is in no log and no trace."""
    return f"{site}/invitation?link={token}"


def _made(
    request: Request, db: Session, project: Project | None, actor: Actor, body: _In, role: str
) -> dict[str, Any]:
    invitation, token = invitations.invite(
        db, project, role, actor.person, email=body.email, days=body.days, uses=body.uses
    )
    (shown,) = invitation_queries.listed(db, [invitation])
    return {**shown.view(), "token": token, "link": link_of(site_of(request), token)}


def _page(db: Session, page: Any, project_id: uuid.UUID | None) -> dict[str, Any]:
    found = page.of(db, invitation_queries.into(project_id), Invitation.id, lambda row: row)
    shown = invitation_queries.listed(db, found["items"])
    return {"items": [one.view() for one in shown], "next": found["next"]}


@router.get("/projects/{project_id}/invitations")
def list_invitations(
    project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged
) -> dict[str, Any]:
    """The invitations into a project, and who came by them."""
    project = project_for(db, actor, project_id, "manage")
    return _page(db, page, project.id)


@router.post("/projects/{project_id}/invitations", status_code=201)
def invite(
    project_id: uuid.UUID,
    body: InvitationIn,
    request: Request,
    actor: CurrentActor,
    db: Db,
    _: Once,
) -> dict[str, Any]:
    """Make a link into a project, with a role up to one's own; shown this once, as `link`."""
    project = project_for(db, actor, project_id, "manage")
    return _made(request, db, project, actor, body, body.role)


@router.delete("/projects/{project_id}/invitations/{invitation_id}", status_code=204)
def revoke(project_id: uuid.UUID, invitation_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """End an invitation; who came by it stays."""
    project = project_for(db, actor, project_id, "manage")
    found = invitations.invitation_of(db, invitation_id, project.id)
    invitations.revoke(db, found, actor.person.id)


@router.get("/invitations")
def list_site_invitations(actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The invitations into the site (admins)."""
    actor.require_admin()
    return _page(db, page, None)


@router.post("/invitations", status_code=201)
def invite_to_site(
    body: SiteInvitationIn, request: Request, actor: CurrentActor, db: Db, _: Once
) -> dict[str, Any]:
    """Make a link to an account here (admins); shown this once, as `link`."""
    actor.require_admin()
    return _made(request, db, None, actor, body, body.role)


@router.delete("/invitations/{invitation_id}", status_code=204)
def revoke_any(invitation_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """End an invitation, whatever it leads into (admins)."""
    actor.require_admin()
    found = invitations.invitation_of(db, invitation_id, None)
    invitations.revoke(db, found, actor.person.id)


@router.post("/invitations/accept", status_code=201)
def register(body: NewcomerIn, request: Request, db: Db) -> dict[str, Any]:
    """Make an account by an invitation; it needs no key."""
    place = place_of(request)
    invitation = invitations.opened(db, body.token, place)
    person = invitations.register(
        db, invitation, body.email, body.name, body.password.get_secret_value(), place
    )
    return {"person": queries.person_view(person), "project": invitation.project_id}


@router.post("/invitations/join")
def join(body: TokenIn, request: Request, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Come by an invitation with the account that asks."""
    if actor.scope != "admin" or actor.only_project is not None:
        raise Forbidden(_("Joining needs a key that is narrowed in nothing, or to be signed in."))
    invitation = invitations.opened(db, body.token, place_of(request))
    invitations.accept(db, invitation, actor.person)
    return {"person": queries.person_view(actor.person), "project": invitation.project_id}
