"""The page of groups, and letting them into projects."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Problem
from app.language import _
from app.people import actions, groups
from app.people.access import project_for
from app.people.models import Group
from app.web import Checked, PageActor, Posted, go, render, text

router = APIRouter(include_in_schema=False)

MOST_GROUPS = 500
ROLE_CHOICES = (
    ("annotator", _("Annotators")),
    ("reviewer", _("Reviewers")),
    ("admin", _("Admins")),
)


@router.get("/groups")
def index(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """Every group and who is in it (admins)."""
    actor.require_admin()
    return _page(request, db)


@router.post("/groups")
def create(request: Request, actor: PageActor, posted: Posted, db: Db) -> Response:
    """Make a group."""
    actor.require_admin()
    try:
        groups.add_group(db, text(posted, "name"), actor.person.id)
    except Problem as problem:
        db.rollback()
        return _page(request, db, problem)
    return go("/groups", "group-changed")


@router.post("/groups/{group_id}/members")
def put_in(
    request: Request, group_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Put somebody into a group, by e-mail address."""
    actor.require_admin()
    try:
        group = groups.group_by_id(db, group_id)
        person = actions.person_called(db, text(posted, "email"))
        groups.put_in(db, group, person, actor.person.id)
    except Problem as problem:
        db.rollback()
        return _page(request, db, problem)
    return go("/groups", "group-changed")


@router.post("/groups/{group_id}/members/{person_id}/remove", dependencies=[Checked])
def take_out(
    group_id: uuid.UUID, person_id: uuid.UUID, actor: PageActor, db: Db
) -> RedirectResponse:
    """Take somebody out of a group."""
    actor.require_admin()
    groups.take_out(db, groups.group_by_id(db, group_id), person_id, actor.person.id)
    return go("/groups", "group-changed")


@router.post("/groups/{group_id}/delete", dependencies=[Checked])
def delete(group_id: uuid.UUID, actor: PageActor, db: Db) -> RedirectResponse:
    """End a group."""
    actor.require_admin()
    groups.delete_group(db, groups.group_by_id(db, group_id), actor.person.id)
    return go("/groups", "group-changed")


def _page(request: Request, db: Session, problem: Problem | None = None) -> HTMLResponse:
    found = list(db.scalars(select(Group).order_by(Group.name).limit(MOST_GROUPS)))
    return render(
        request,
        "people/groups.html",
        problem.status if problem else 200,
        section="people",
        groups=found,
        people=groups.people_in(db, [group.id for group in found]),
        error=problem.detail if problem else None,
    )


@router.post("/projects/{project_id}/groups/{group_id}/remove", dependencies=[Checked])
def let_out(
    project_id: uuid.UUID, group_id: uuid.UUID, actor: PageActor, db: Db
) -> RedirectResponse:
    """Take a group's role in a project away."""
    project = project_for(db, actor, project_id, "manage")
    groups.let_out(db, project, groups.group_by_id(db, group_id), actor.person.id)
    return go(f"/projects/{project.id}/people", "member-removed")


def names(session: Session) -> list[str]:
    """What the groups are called."""
    return list(session.scalars(select(Group.name).order_by(Group.name).limit(MOST_GROUPS)))
