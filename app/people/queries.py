"""What is shown of people, keys and members, and the queries behind it."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language import _
from app.people.access import Actor
from app.people.models import ApiKey, Membership, Person, SecondFactor


def person_view(person: Person) -> dict[str, Any]:
    """A person as JSON."""
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "role": person.role,
        "language": person.language,
        "active": person.active,
        "can_sign_in": person.password_hash is not None and person.active,
        "created_at": person.created_at,
    }


def key_view(key: ApiKey) -> dict[str, Any]:
    """An API key as JSON; the secret itself is known to nobody."""
    return {
        "id": key.id,
        "person": key.person_id,
        "project": key.project_id,
        "name": key.name,
        "scope": key.scope,
        "rate_limit": key.rate_limit,
        "prefix": key.prefix,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "created_at": key.created_at,
    }


def member_view(row: tuple[Membership, Person]) -> dict[str, Any]:
    """A member as JSON."""
    member, person = row
    return {
        "person": person.id,
        "email": person.email,
        "name": person.name,
        "role": member.role,
        "active": person.active,
        "created_at": member.created_at,
    }


def people() -> Select[Person]:
    """Everybody but who was deleted."""
    return select(Person).where(Person.deleted_at.is_(None))


def keys_for(actor: Actor) -> Select[ApiKey]:
    """The keys that the actor may see: all for a site admin, else the person's own."""
    query = select(ApiKey)
    if actor.is_admin:
        return query
    query = query.where(ApiKey.person_id == actor.person.id)
    if actor.only_project is not None:
        query = query.where(ApiKey.project_id == actor.only_project)
    return query


def members_of(project_id: uuid.UUID) -> Select[Membership, Person]:
    """The members of a project with who they are."""
    return (
        select(Membership, Person)
        .join(Person, Person.id == Membership.person_id)
        .where(Membership.project_id == project_id, Membership.left_at.is_(None))
    )


def with_second_factor(session: Session) -> set[uuid.UUID]:
    """Who signs in with a code as well."""
    return set(
        session.scalars(
            select(SecondFactor.person_id).where(SecondFactor.confirmed_at.is_not(None))
        )
    )


def person_by_id(session: Session, person_id: uuid.UUID) -> Person:
    """The person.

    Raises:
        NotFound: there is none.
    """
    person = session.get(Person, person_id)
    if person is None:
        raise NotFound(_("There is no such person."))
    return person


def key_for(session: Session, actor: Actor, key_id: uuid.UUID) -> ApiKey:
    """The key, if the actor may see it.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    key = session.scalar(keys_for(actor).where(ApiKey.id == key_id))
    if key is None:
        raise NotFound(_("There is no such key, or it is somebody else's."))
    return key
