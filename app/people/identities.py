"""Which person somebody is whom the identity provider vouches for, and what role they have.

Matched by (issuer, subject), which a provider never gives to anybody else; a verified e-mail
address ties somebody to their account once, an unverified one says nothing. Callers commit.
"""

from __future__ import annotations

import hashlib
import uuid
from urllib.parse import urlsplit

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Forbidden, Problem
from app.language import _
from app.people import actions, text
from app.people.access import now
from app.people.models import (
    ApiKey,
    Identity,
    PasswordLink,
    Person,
    RecoveryCode,
    SecondFactor,
    SignIn,
)
from app.people.oidc import Claims
from app.rounds.events import record
from app.settings import get_settings


class NoRoleError(Forbidden):
    """No group of theirs gives a role here; ``person_id`` is their account, where they have one."""

    def __init__(self, person_id: uuid.UUID | None) -> None:
        super().__init__(
            "The identity provider knows you, but none of your groups lets you in here. Ask "
            "whoever runs this server."
        )
        self.person_id = person_id


def person_for(session: Session, who: Claims, *, invited: bool = False) -> Person:
    """The person that these claims are of, with the role that their groups give them now.

    Args:
        invited: they hold an open invitation, so an account is made whatever the settings say.

    Raises:
        NoRoleError: roles come from groups, and theirs give none.
        Forbidden: unknown here and nobody is created, or not active.
        Conflict: the address is somebody else's, or the only admin would cease to be one.
    """
    identity = session.scalar(
        select(Identity)
        .where(Identity.issuer == who.issuer, Identity.subject == who.subject)
        .with_for_update()
    )
    person = session.get(Person, identity.person_id) if identity else _by_address(session, who)
    role = role_of(who.groups)
    if get_settings().oidc_roles and role is None:
        raise NoRoleError(person.id if person else None)
    if person is None:
        person = _created(session, who, role, invited=invited)
    if not person.active or person.deleted_at is not None:
        raise Forbidden(_("This account is not active. Ask whoever runs this server."))
    if identity is None:
        identity = _tied(session, who, person)
    identity.last_used_at = now()
    if role is not None and role != person.role:
        actions.change_person(session, person, role=role)
        record(session, "person.role", person=str(person.id), role=role)
    session.flush()
    return person


def role_of(groups: frozenset[str] | None) -> str | None:
    """The highest role that any of these groups gives; None where none does."""
    given = {role for group, role in get_settings().oidc_roles.items() if group in (groups or ())}
    return "admin" if "admin" in given else "member" if given else None


def _by_address(session: Session, who: Claims) -> Person | None:
    address = _address(who)
    if address is None:
        return None
    person = session.scalar(select(Person).where(Person.email == address).with_for_update())
    if person is None:
        return None
    tied = select(func.count()).where(
        Identity.person_id == person.id, Identity.issuer == who.issuer
    )
    if session.scalar(tied):
        raise Conflict(_("Your e-mail address belongs to another account of this provider here."))
    return person


def _address(who: Claims) -> str | None:
    try:
        return text.email(who.email) if who.email is not None else None
    except Problem:
        return None


def _created(session: Session, who: Claims, role: str | None, *, invited: bool) -> Person:
    if not (invited or get_settings().oidc_create_people):
        raise Forbidden(
            _("There is no account for you here. An admin can make one with your e-mail address.")
        )
    address = _address(who) or _made_up(who)
    return actions.add_person(session, address, who.name, role or "member")


def _made_up(who: Claims) -> str:
    """An address for who has no verified one: nobody can claim another person's by it."""
    digest = hashlib.sha256(f"{who.issuer}\0{who.subject}".encode()).hexdigest()[:20]
    return f"{digest}@{urlsplit(who.issuer).hostname or 'provider'}.invalid"


def _tied(session: Session, who: Claims, person: Person) -> Identity:
    if not person.email_proven:
        _end_credentials(session, person)
    identity = Identity(person_id=person.id, issuer=who.issuer, subject=who.subject)
    session.add(identity)
    session.flush()
    record(session, "identity.tied", person=str(person.id))
    return identity


def _end_credentials(session: Session, person: Person) -> None:
    """End every way into an account whose address somebody claimed without a proof.

    Whoever made it may not be whom the provider vouches for: they must not stay inside.
    """
    person.password_hash, person.email_proven = None, True
    for table in (SignIn, SecondFactor, RecoveryCode, PasswordLink):
        session.execute(delete(table).where(table.person_id == person.id))
    for key in session.scalars(select(ApiKey).where(ApiKey.person_id == person.id)):
        actions.revoke_key(session, key)
    record(session, "person.credentials_ended", person=str(person.id))
