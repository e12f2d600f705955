"""Groups of people, and the roles that projects give them. Callers commit."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.language import _
from app.people import roles, text
from app.people.models import Group, GroupMember, GroupRole, Person
from app.projects.models import Project
from app.rounds.events import record

ROLES = ("annotator", "reviewer", "admin")
LONGEST_NAME = 100


def add_group(session: Session, name: str, by: uuid.UUID | None) -> Group:
    """Make a group.

    Raises:
        Invalid: the name is empty or too long.
        Conflict: there is one of that name.
    """
    name = text.given_name(name, LONGEST_NAME)
    group_id = session.scalar(
        insert(Group).values(name=name).on_conflict_do_nothing().returning(Group.id)
    )
    if group_id is None:
        raise Conflict(_("There is a group called %(name)s already.", name=name))
    record(session, "group.created", person_id=by, group=str(group_id))
    return session.get_one(Group, group_id)


def rename(session: Session, group: Group, name: str, by: uuid.UUID | None) -> None:
    """Call a group something else.

    Raises:
        Invalid, Conflict: as of :func:`add_group`.
    """
    name = text.given_name(name, LONGEST_NAME)
    taken = select(Group.id).where(Group.name == name, Group.id != group.id)
    if session.scalar(taken) is not None:
        raise Conflict(_("There is a group called %(name)s already.", name=name))
    group.name = name
    session.flush()
    record(session, "group.renamed", person_id=by, group=str(group.id))


def delete_group(session: Session, group: Group, by: uuid.UUID | None) -> None:
    """End a group: the roles that it gave end, what its people labelled stays."""
    given = session.scalars(
        select(GroupRole.project_id).where(GroupRole.group_id == group.id)
    ).all()
    group_id = str(group.id)
    session.delete(group)
    session.flush()
    for project_id in [None, *given]:
        record(session, "group.deleted", project_id=project_id, person_id=by, group=group_id)


def put_in(session: Session, group: Group, person: Person, by: uuid.UUID | None) -> None:
    """Put somebody into a group; again changes nothing.

    Raises:
        Conflict: the person is deleted.
    """
    if person.deleted_at is not None:
        raise Conflict(_("This person is deleted, and cannot come back."))
    new = session.scalar(
        insert(GroupMember)
        .values(group_id=group.id, person_id=person.id)
        .on_conflict_do_nothing()
        .returning(GroupMember.person_id)
    )
    if new is not None:
        _tell_of(session, "group.member_added", group, person.id, by)


def take_out(session: Session, group: Group, person_id: uuid.UUID, by: uuid.UUID | None) -> None:
    """Take somebody out of a group; what they labelled stays.

    Raises:
        NotFound: they are not in it.
    """
    gone = session.scalar(
        delete(GroupMember)
        .where(GroupMember.group_id == group.id, GroupMember.person_id == person_id)
        .returning(GroupMember.person_id)
    )
    if gone is None:
        raise NotFound(_("This person is not in the group."))
    _tell_of(session, "group.member_removed", group, person_id, by)


def _tell_of(
    session: Session, kind: str, group: Group, person_id: uuid.UUID, by: uuid.UUID | None
) -> None:
    record(session, kind, person_id=by, group=str(group.id), member=str(person_id))


def let_in(
    session: Session, project: Project, group: Group, role: str, by: uuid.UUID | None
) -> GroupRole:
    """Give everybody in a group a role in a project, or change it.

    Raises:
        Invalid: no role that a group may have.
        Forbidden: it, or the role that the group has now, is more than that of ``by``.
    """
    if role not in ROLES:
        raise Invalid(
            _("role: one of %(roles)s for a group.", roles=", ".join(ROLES)), field="role"
        )
    roles.check_gives(session, by, project.id, role)
    held = session.get(GroupRole, (project.id, group.id))
    if held is not None:
        roles.check_gives(session, by, project.id, held.role)
    session.execute(
        insert(GroupRole)
        .values(project_id=project.id, group_id=group.id, role=role)
        .on_conflict_do_update(index_elements=["project_id", "group_id"], set_={"role": role})
    )
    _tell_in(session, "group.added", project, group, by, role=role)
    return session.get_one(GroupRole, (project.id, group.id), populate_existing=True)


def let_out(session: Session, project: Project, group: Group, by: uuid.UUID | None) -> None:
    """Take a group's role in a project away; its people keep their own roles there.

    Raises:
        NotFound: it has none.
        Forbidden: the role is more than that of ``by``.
    """
    held = session.get(GroupRole, (project.id, group.id))
    if held is None:
        raise NotFound(_("This group has no role in the project."))
    roles.check_gives(session, by, project.id, held.role)
    session.delete(held)
    session.flush()
    _tell_in(session, "group.removed", project, group, by)


def _tell_in(
    session: Session,
    kind: str,
    project: Project,
    group: Group,
    by: uuid.UUID | None,
    **data: Any,
) -> None:
    record(session, kind, project_id=project.id, person_id=by, group=str(group.id), **data)


def group_by_id(session: Session, group_id: uuid.UUID) -> Group:
    """The group.

    Raises:
        NotFound: there is none.
    """
    group = session.get(Group, group_id)
    if group is None:
        raise NotFound(_("There is no such group."))
    return group


def group_called(session: Session, name: str) -> Group:
    """The group of that name.

    Raises:
        NotFound: there is none.
    """
    group = session.scalar(select(Group).where(Group.name == name.strip()))
    if group is None:
        raise NotFound(_("There is no group of that name."))
    return group


def people_in(session: Session, group_ids: list[uuid.UUID]) -> dict[uuid.UUID, list[Person]]:
    """Who is in each of the groups, by address."""
    found: dict[uuid.UUID, list[Person]] = {group_id: [] for group_id in group_ids}
    rows = session.execute(
        select(GroupMember.group_id, Person)
        .join(Person, Person.id == GroupMember.person_id)
        .where(GroupMember.group_id.in_(group_ids))
        .order_by(Person.email)
    )
    for group_id, person in rows:
        found[group_id].append(person)
    return found


def in_project(session: Session, project_id: uuid.UUID) -> list[tuple[Group, str, int]]:
    """(group, its role, how many are in it) of a project, by name."""
    count = (
        select(func.count())
        .where(GroupMember.group_id == Group.id)
        .correlate(Group)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Group, GroupRole.role, count)
        .join(GroupRole, GroupRole.group_id == Group.id)
        .where(GroupRole.project_id == project_id)
        .order_by(Group.name)
    )
    return [(group, role, size) for group, role, size in rows]


def by_groups(session: Session, project_id: uuid.UUID) -> dict[Person, list[tuple[str, str]]]:
    """Who is in a project by groups: for each, (group's name, role)."""
    found: dict[Person, list[tuple[str, str]]] = {}
    rows = session.execute(
        select(Person, Group.name, GroupRole.role)
        .join(GroupMember, GroupMember.person_id == Person.id)
        .join(Group, Group.id == GroupMember.group_id)
        .join(GroupRole, GroupRole.group_id == Group.id)
        .where(GroupRole.project_id == project_id)
        .order_by(Person.email, Group.name)
    )
    for person, name, role in rows:
        found.setdefault(person, []).append((name, role))
    return found
