"""What can be done to people, keys and memberships: one function a business verb."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.language import _, languages
from app.people import passwords, roles, text
from app.people.access import now, token_hash
from app.people.models import KEY_SCOPES, PROJECT_ROLES, ApiKey, Membership, PasswordLink, Person
from app.people.sessions import sign_out_everywhere
from app.projects.models import Project
from app.rounds.events import record

KEY_START = "adpo_"


def add_person(
    session: Session, email: str, name: str = "", role: str = "member", password: str | None = None
) -> Person:
    """Create a person; without a password they cannot sign in, only use keys.

    Raises:
        Invalid: the address, the name, the role or the password is not acceptable.
        Conflict: somebody has this address.
    """
    if role not in ("admin", "member"):
        raise Invalid(_("role: one of admin, member."), field="role")
    stored = passwords.hashed(text.password(password)) if password is not None else None
    person_id = session.scalar(
        insert(Person)
        .values(email=text.email(email), name=text.name(name), role=role, password_hash=stored)
        .on_conflict_do_nothing()
        .returning(Person.id)
    )
    if person_id is None:
        raise Conflict(
            _("There is a person with the address %(email)s already.", email=text.email(email))
        )
    return session.get_one(Person, person_id)


def set_password(
    session: Session, person: Person, password: str, keep: uuid.UUID | None = None
) -> None:
    """Change a password and end the person's sessions, but for the one called ``keep``; a link
    that would set another ends as well.

    Raises:
        Invalid: too short or too long.
        Conflict: the person is deleted.
    """
    _is_there(person)
    person.password_hash = passwords.hashed(text.password(password))
    session.execute(delete(PasswordLink).where(PasswordLink.person_id == person.id))
    sign_out_everywhere(session, person.id, but=keep)
    session.flush()


def change_person(
    session: Session,
    person: Person,
    *,
    name: str | None = None,
    role: str | None = None,
    active: bool | None = None,
) -> None:
    """Change what is given; who is made inactive is signed out, and their keys stop working.

    Raises:
        Conflict: nobody would be left to administer the site, or the person is deleted.
    """
    _is_there(person)
    if person.role == "admin" and person.active and (role == "member" or active is False):
        admins = select(Person.id).where(Person.role == "admin", Person.active)
        # Locked, so that two admins cannot demote each other at once
        if len(session.scalars(admins.with_for_update()).all()) < 2:
            raise Conflict(_("This is the only admin; make somebody else admin first."))
    if name is not None:
        person.name = name
    if role is not None:
        person.role = role
    if active is not None:
        if active != person.active:
            person.deactivated_at = None if active else now()
        person.active = active
    if active is False:
        session.execute(delete(PasswordLink).where(PasswordLink.person_id == person.id))
        sign_out_everywhere(session, person.id)
    session.flush()


def choose_language(session: Session, person: Person, code: str | None) -> None:
    """Show the pages to this person in a language; None: in what their browser asks for.

    Raises:
        Invalid: there is no such catalogue.
    """
    if code is not None and code not in languages():
        raise Invalid(
            _("language: one of %(codes)s.", codes=", ".join(languages())), field="language"
        )
    person.language = code
    session.flush()


def _is_there(person: Person) -> None:
    if person.deleted_at is not None:
        raise Conflict(_("This person is deleted, and cannot come back."))


def add_key(
    session: Session,
    person: Person,
    scope: str,
    name: str = "",
    project_id: uuid.UUID | None = None,
    expires_at: dt.datetime | None = None,
    by: uuid.UUID | None = None,
) -> tuple[ApiKey, str]:
    """Create an API key; the secret is returned once and only its hash is kept.

    ``by``: who does it; None on the command line.

    Raises:
        Invalid: an unknown scope, an unknown project, an end that has passed, or a name that
            cannot be stored.
        Conflict: the person is deleted.
    """
    _is_there(person)
    text.name(name)
    if scope not in KEY_SCOPES:
        raise Invalid(
            _("scope: one of %(key_scopes)s.", key_scopes=", ".join(KEY_SCOPES)), field="scope"
        )
    if project_id is not None and session.get(Project, project_id) is None:
        raise Invalid(_("project_id: there is no such project."), field="project_id")
    if expires_at is not None and expires_at <= now():
        raise Invalid(_("expires_at: lies in the past."), field="expires_at")
    secret = KEY_START + secrets.token_urlsafe(32)
    key = ApiKey(
        person_id=person.id,
        project_id=project_id,
        name=name,
        scope=scope,
        prefix=secret[: len(KEY_START) + 4],
        key_hash=token_hash(secret),
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    _told(session, "key.created", key, by, scope=scope)
    return key, secret


def _told(session: Session, kind: str, key: ApiKey, by: uuid.UUID | None, **data: Any) -> None:
    owner = str(key.person_id)
    record(
        session, kind, project_id=key.project_id, person_id=by, key=str(key.id), owner=owner, **data
    )


def rotate_key(
    session: Session, key: ApiKey, overlap: dt.timedelta, by: uuid.UUID | None = None
) -> tuple[ApiKey, str]:
    """Replace a key by a new one that may do the same; the old one ends after ``overlap``.

    Raises:
        Conflict: the key has ended.
    """
    session.refresh(key, with_for_update=True)
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now()):
        raise Conflict(_("This key has ended: make a new one."))
    person = session.get_one(Person, key.person_id)
    new, secret = add_key(session, person, key.scope, key.name, key.project_id, key.expires_at, by)
    new.rate_limit = key.rate_limit
    if overlap:
        ends = now() + overlap
        key.expires_at = ends if key.expires_at is None else min(ends, key.expires_at)
    else:
        revoke_key(session, key, by)
    session.flush()
    return new, secret


def revoke_key(session: Session, key: ApiKey, by: uuid.UUID | None = None) -> None:
    """End a key; ending it twice changes nothing."""
    if key.revoked_at is None:
        key.revoked_at = now()
        session.flush()
        _told(session, "key.revoked", key, by)


def add_member(
    session: Session, project: Project, person: Person, role: str, by: uuid.UUID | None = None
) -> Membership:
    """Make a person a member, or change the member's role.

    Raises:
        Invalid: an unknown role.
        Forbidden: it, or the role that the person has now, is more than that of ``by``.
        Conflict: the project would be left without an owner, or the person is deleted.
    """
    _is_there(person)
    if role not in PROJECT_ROLES:
        raise Invalid(
            _("role: one of %(project_roles)s.", project_roles=", ".join(PROJECT_ROLES)),
            field="role",
        )
    roles.check_gives(session, by, project.id, role)
    _check_reaches(session, by, project.id, person.id)
    if role != "owner":
        _keep_an_owner(session, project, person.id)
    session.execute(
        insert(Membership)
        .values(project_id=project.id, person_id=person.id, role=role)
        .on_conflict_do_update(
            index_elements=["project_id", "person_id"], set_={"role": role, "left_at": None}
        )
    )
    record(
        session,
        "member.added",
        project_id=project.id,
        person_id=by,
        member=str(person.id),
        role=role,
    )
    return session.get_one(Membership, (project.id, person.id), populate_existing=True)


def remove_member(
    session: Session, project: Project, person_id: uuid.UUID, by: uuid.UUID | None = None
) -> None:
    """End a membership; what the person labelled stays.

    Raises:
        NotFound: the person is no member.
        Forbidden: the person's role is more than that of ``by``.
        Conflict: the project would be left without an owner.
    """
    member = session.get(Membership, (project.id, person_id))
    if member is None or member.left_at is not None:
        raise NotFound(_("This person is not a member of the project."))
    _check_reaches(session, by, project.id, person_id)
    _keep_an_owner(session, project, person_id)
    if member.role == "oracle":  # what it labelled was labelled by an oracle, whatever comes
        member.left_at = now()
    else:
        session.delete(member)
    session.flush()
    record(session, "member.removed", project_id=project.id, person_id=by, member=str(person_id))


def hand_over(session: Session, project: Project, person_id: uuid.UUID, by: Person) -> None:
    """Make a member the owner; ``by``, where they own the project, stays as its admin.

    Raises:
        Forbidden: ``by`` neither owns the project nor administers the site.
        NotFound: the person is no member.
        Conflict: they own it already, or are not active.
    """
    roles.check_gives(session, by.id, project.id, "owner")
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    member = session.get(Membership, (project.id, person_id), populate_existing=True)
    if member is None or member.left_at is not None:
        raise NotFound(_("This person is not a member of the project."))
    if member.role == "owner":
        raise Conflict(_("This person owns the project already."))
    if not session.get_one(Person, person_id).active:
        raise Conflict(_("This person is not active: the project would have no owner who can act."))
    member.role = "owner"
    own = session.get(Membership, (project.id, by.id), populate_existing=True)
    if own is not None and own.role == "owner":
        own.role = "admin"
    session.flush()
    record(
        session,
        "project.handed_over",
        project_id=project.id,
        person_id=by.id,
        member=str(person_id),
    )


def _check_reaches(
    session: Session, by: uuid.UUID | None, project_id: uuid.UUID, person_id: uuid.UUID
) -> None:
    """Nobody changes the membership of who has more than they; of themselves they may."""
    member = session.get(Membership, (project_id, person_id))
    if member is not None and by != person_id:
        roles.check_gives(session, by, project_id, member.role)


def _keep_an_owner(session: Session, project: Project, leaving: uuid.UUID) -> None:
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    owners = select(Membership.person_id).where(
        Membership.project_id == project.id, Membership.role == "owner"
    )
    if session.scalars(owners).all() == [leaving]:
        raise Conflict(_("This is the only owner; make somebody else owner first."))


def person_called(session: Session, email: str) -> Person:
    """The person with this address.

    Raises:
        NotFound: there is none.
    """
    person = session.scalar(select(Person).where(Person.email == func.lower(text.email(email))))
    if person is None:
        raise NotFound(_("There is no person with the address %(email)s.", email=text.email(email)))
    return person
