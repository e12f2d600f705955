"""Browser sessions: signing in, signing out, and when a session ends by itself."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import Invalid, Unauthorized
from app.people import passwords, throttle
from app.people.access import IDLE_END, now, token_hash
from app.people.models import Person, SignIn

ABSOLUTE_END = dt.timedelta(days=14)


@dataclass(frozen=True)
class NewSession:
    """A session that has just begun; ``token`` is for the cookie and kept nowhere else."""

    person: Person
    token: str
    csrf_token: str
    expires_at: dt.datetime


def sign_in(
    session: Session, email: str, password: str, place: str, old_token: str | None = None
) -> NewSession:
    """Begin a session for who knows the password; the one of ``old_token`` ends.

    Args:
        place: the address that the attempt comes from, for the limit on attempts.

    Raises:
        TooMany: too many attempts.
        Unauthorized: the same words whether the person or the password is wrong.
    """
    email = email.strip().lower()
    throttle.count_attempt(email, place)
    person = None
    if "\x00" not in email and email.isprintable():
        person = session.scalar(select(Person).where(Person.email == email, Person.active))
    stored = person.password_hash if person else None
    if not passwords.matches(stored, password) or person is None or stored is None:
        throttle.count_failure(email, place)
        raise Unauthorized("The e-mail address or the password is wrong.")
    throttle.forget_attempts(email, place)
    if passwords.outdated(stored):
        person.password_hash = passwords.hashed(password)
    if old_token:
        sign_out(session, old_token)
    _sweep(session, person.id)
    return _begin(session, person)


def confirm_password(person: Person, password: str, place: str) -> None:
    """Check the password of who is signed in already, as limited as signing in.

    Raises:
        TooMany: too many attempts.
        Invalid: it is wrong.
    """
    throttle.count_attempt(person.email, place)
    if not passwords.matches(person.password_hash, password):
        throttle.count_failure(person.email, place)
        raise Invalid("current: this is not your password.", field="current")
    throttle.forget_attempts(person.email, place)


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


def sign_out_everywhere(
    session: Session, person_id: uuid.UUID, but: uuid.UUID | None = None
) -> None:
    """End all sessions of a person, but for the one with the id ``but``."""
    query = delete(SignIn).where(SignIn.person_id == person_id)
    session.execute(query if but is None else query.where(SignIn.id != but))
