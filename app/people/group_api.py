"""Groups over HTTP: their people (admins), and their roles in projects (managers)."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Db
from app.idempotency.route import Once, OnceRoute
from app.paging import Paged
from app.people import groups, queries
from app.people.access import CurrentActor, project_for
from app.people.models import Group
from app.storable import Text

router = APIRouter(route_class=OnceRoute)

Name = Annotated[Text, Field(min_length=1, max_length=groups.LONGEST_NAME)]


class GroupIn(BaseModel):
    """What a group is called."""

    model_config = ConfigDict(extra="forbid")

    name: Name


class GroupRoleIn(GroupIn):
    """Which group is let in, and as what."""

    role: Literal["admin", "reviewer", "annotator"] = "annotator"


def _view(session: Session, group: Group) -> dict[str, Any]:
    (people,) = groups.people_in(session, [group.id]).values()
    who = [{"person": one.id, "email": one.email, "active": one.active} for one in people]
    return {"id": group.id, "name": group.name, "created_at": group.created_at, "people": who}


@router.get("/groups")
def list_groups(actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """Every group with who is in it (admins)."""
    actor.require_admin()
    return page.of(db, select(Group), Group.id, lambda group: _view(db, group))


@router.post("/groups", status_code=201)
def create_group(body: GroupIn, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Make a group (admins)."""
    actor.require_admin()
    return _view(db, groups.add_group(db, body.name, actor.person.id))


@router.patch("/groups/{group_id}")
def rename_group(group_id: uuid.UUID, body: GroupIn, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Rename a group (admins)."""
    actor.require_admin()
    group = groups.group_by_id(db, group_id)
    groups.rename(db, group, body.name, actor.person.id)
    return _view(db, group)


@router.delete("/groups/{group_id}", status_code=204)
def delete_group(group_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """End a group and the roles it gave; labels stay (admins)."""
    actor.require_admin()
    groups.delete_group(db, groups.group_by_id(db, group_id), actor.person.id)


@router.put("/groups/{group_id}/members/{person_id}")
def put_in(
    group_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Put somebody into a group (admins)."""
    actor.require_admin()
    group = groups.group_by_id(db, group_id)
    groups.put_in(db, group, queries.person_by_id(db, person_id), actor.person.id)
    return _view(db, group)


@router.delete("/groups/{group_id}/members/{person_id}", status_code=204)
def take_out(group_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Take somebody out of a group; their labels stay (admins)."""
    actor.require_admin()
    groups.take_out(db, groups.group_by_id(db, group_id), person_id, actor.person.id)


def _in(group: Group, role: str, size: int) -> dict[str, Any]:
    return {"group": group.id, "name": group.name, "role": role, "people": size}


@router.get("/projects/{project_id}/groups")
def groups_of_project(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """The groups that have a role in a project."""
    project = project_for(db, actor, project_id, "manage")
    return {"items": [_in(*row) for row in groups.in_project(db, project.id)], "next": None}


@router.post("/projects/{project_id}/groups", status_code=201)
def let_in(project_id: uuid.UUID, body: GroupRoleIn, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Give a group, by its name, a role in a project, or change it; up to one's own."""
    project = project_for(db, actor, project_id, "manage")
    group = groups.group_called(db, body.name)
    groups.let_in(db, project, group, body.role, actor.person.id)
    (people,) = groups.people_in(db, [group.id]).values()
    return _in(group, body.role, len(people))


@router.delete("/projects/{project_id}/groups/{group_id}", status_code=204)
def let_out(project_id: uuid.UUID, group_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Take a group's role in a project away; labels stay."""
    project = project_for(db, actor, project_id, "manage")
    groups.let_out(db, project, groups.group_by_id(db, group_id), actor.person.id)
