"""Browser sessions: signing in, signing out, and when a session ends by itself."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import Forbidden, Invalid, Unauthorized
from app.language import _
from app.people import passwords, second_factor, throttle
from app.people.access import IDLE_END, now, token_hash
from app.people.models import Person, SignIn
from app.sealed import UnreadableSecretError, seal, unseal
from app.settings import get_settings

ABSOLUTE_END = dt.timedelta(days=14)
FRESH = dt.timedelta(minutes=15)
TICKET = "second-step "
TICKET_SECONDS = 300


@dataclass(frozen=True)
class NewSession:
    """A session that has just begun; ``token`` is for the cookie and kept nowhere else."""

    person: Person
    token: str
    csrf_token: str
    expires_at: dt.datetime


class SecondStepNeeded(Unauthorized):
    """The password is right, a code is wanted; ``ticket`` stands for the password for a while."""

    def __init__(self, ticket: str) -> None:
        super().__init__(
            "A second step is set up: send the code of your authenticator app as `code` too.",
            second_factor=True,
        )
        self.ticket = ticket


class TicketError(Unauthorized):
    """The first step of signing in was too long ago, or the password has changed since."""


def sign_in(
    session: Session,
    email: str,
    password: str,
    place: str,
    old_token: str | None = None,
    code: str | None = None,
) -> NewSession:
    """Begin a session for who knows the password; the one of ``old_token`` ends.

    Args:
        place: the address that the attempt comes from, for the limit on attempts.
        code: of the second step, where the person has one.

    Raises:
        Forbidden: people of this site sign in through its identity provider alone.
        TooMany: too many attempts.
        Unauthorized: the same words whether the person or the password is wrong.
        SecondStepNeeded: the password is right and ``code`` is missing.
        Invalid: ``code`` is wrong, or was used before.
    """
    if not get_settings().password_sign_in:
        raise Forbidden(_("Passwords are not taken here: sign in through the identity provider."))
    email = email.strip().lower()
    throttle.count_attempt(email, place)
    person = None
    if "\x00" not in email and email.isprintable():
        person = session.scalar(select(Person).where(Person.email == email, Person.active))
    stored = person.password_hash if person else None
    if not passwords.matches(stored, password) or person is None or stored is None:
        throttle.count_failure(email, place)
        raise Unauthorized(_("The e-mail address or the password is wrong."))
    if second_factor.is_on(session, person.id):
        if code is None:
            raise SecondStepNeeded(_ticket(person))
        second_factor.check(session, person, code, place)
    throttle.forget_attempts(email, place)
    if passwords.outdated(stored):
        person.password_hash = passwords.hashed(password)
    return _rotated(session, person, old_token)


def sign_in_as(session: Session, person: Person, old_token: str | None = None) -> NewSession:
    """Begin a session for whom the identity provider vouches for; the one of ``old_token`` ends.

    Raises:
        SecondStepNeeded: the person has set one up here: it is asked for on every way in.
    """
    if second_factor.is_on(session, person.id):
        raise SecondStepNeeded(_ticket(person))
    return _rotated(session, person, old_token)


def sign_in_by_code(
    session: Session, ticket: str, code: str, place: str, old_token: str | None = None
) -> NewSession:
    """Begin a session for who holds the ticket of :class:`SecondStepNeeded` and has a code.

    Raises:
        TicketError: the ticket is none, or too old.
        TooMany: too many attempts.
        Invalid: the code is wrong, or was used before.
    """
    person = _person_of(session, ticket)
    second_factor.check(session, person, code, place)
    return _rotated(session, person, old_token)


def _ticket(person: Person) -> str:
    return seal(f"{TICKET}{person.id} {token_hash(person.password_hash or '')}")


def _person_of(session: Session, ticket: str) -> Person:
    try:
        said = unseal(ticket, TICKET_SECONDS)
        kind, name, password = said.split(" ")
        person = session.get(Person, uuid.UUID(name)) if kind == TICKET.strip() else None
    except (UnreadableSecretError, ValueError):
        person = None
    if (
        person is None
        or not person.active
        or token_hash(person.password_hash or "") != password
        or not second_factor.is_on(session, person.id)
    ):
        raise TicketError(_("That took too long: sign in again."))
    return person


def has_password(person: Person) -> bool:
    """Whether this person signs in by a password."""
    return person.password_hash is not None and get_settings().password_sign_in


def confirm_self(person: Person, begun: SignIn | None, password: str, place: str) -> None:
    """Make sure that the person sits there, before what could lock them out.

    By the password; who has none has to have signed in just now.

    Raises:
        TooMany, Invalid: as of :func:`confirm_password`.
        Invalid: no password, and signed in too long ago.
    """
    if has_password(person):
        confirm_password(person, password, place)
    elif begun is None or now() - begun.created_at > FRESH:
        raise Invalid(_("That takes a fresh session: sign out, sign in and come back here."))


def confirm_password(person: Person, password: str, place: str) -> None:
    """Check the password of who is signed in already, as limited as signing in.

    Raises:
        TooMany: too many attempts.
        Invalid: it is wrong.
    """
    throttle.count_attempt(person.email, place)
    if not passwords.matches(person.password_hash, password):
        throttle.count_failure(person.email, place)
        raise Invalid(_("current: this is not your password."), field="current")
    throttle.forget_attempts(person.email, place)


def _rotated(session: Session, person: Person, old_token: str | None) -> NewSession:
    if old_token:
        sign_out(session, old_token)
    _sweep(session, person.id)
    return _begin(session, person)


def _begin(session: Session, person: Person) -> NewSession:
    token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    expires = now() + ABSOLUTE_END
    session.add(
        SignIn(
            token_hash=token_hash(token),
            csrf_token=csrf,
            person_id=person.id,
            expires_at=expires,
            last_seen_at=now(),
        )
    )
    session.flush()
    return NewSession(person, token, csrf, expires)


def _sweep(session: Session, person_id: uuid.UUID) -> None:
    ended = (SignIn.expires_at < now()) | (SignIn.last_seen_at < now() - IDLE_END)
    session.execute(delete(SignIn).where(SignIn.person_id == person_id, ended))


def sign_out(session: Session, token: str) -> None:
    """End the session of this cookie; nothing happens where it has ended already."""
    session.execute(delete(SignIn).where(SignIn.token_hash == token_hash(token)))


def count(session: Session, person_id: uuid.UUID) -> int:
    """How many sessions of a person are open."""
    _sweep(session, person_id)
    query = select(func.count()).select_from(SignIn).where(SignIn.person_id == person_id)
    return session.scalar(query) or 0


def sign_out_everywhere(
    session: Session, person_id: uuid.UUID, but: uuid.UUID | None = None
) -> None:
    """End all sessions of a person, but for the one with the id ``but``."""
    query = delete(SignIn).where(SignIn.person_id == person_id)
    session.execute(query if but is None else query.where(SignIn.id != but))
