"""Links by which people set a new password: made by an admin, used once. Callers commit.

Whatever is wrong with one, the answer is the same. It is worth what its maker may do at the moment
it is used, and it opens no session: who uses it signs in with the new password, and with their
second step where they have one.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict, Forbidden, Gone
from app.language import _
from app.people import actions, throttle
from app.people.access import now, token_hash
from app.people.models import PasswordLink, Person
from app.rounds.events import record
from app.settings import get_settings

LASTS = dt.timedelta(hours=24)
DEAD = (
    "This link opens nothing: it was used, has ended, was replaced by another, or never was. "
    "Ask an admin of this site for a new one."
)


@dataclass(frozen=True)
class Opened:
    """A link that opens something, and whose it is."""

    link: PasswordLink
    person: Person


def make(session: Session, person: Person, by: Person) -> tuple[str, dt.datetime]:
    """Make a person's link, in the place of an earlier one; its token is returned once.

    Returns:
        The token, and when the link ends.

    Raises:
        Forbidden: nobody signs in here by a password.
        Conflict: the person is deleted or not active.
    """
    _passwords_are_taken()
    if not person.active or person.deleted_at is not None:
        raise Conflict(_("This person is not active: activate them first."))
    token, expires = secrets.token_urlsafe(32), now() + LASTS
    values = {"token_hash": token_hash(token), "expires_at": expires, "created_by": by.id}
    session.execute(
        insert(PasswordLink)
        .values(person_id=person.id, **values)
        .on_conflict_do_update(index_elements=["person_id"], set_={**values, "created_at": now()})
    )
    record(session, "password_link.created", person_id=by.id, person=str(person.id))
    return token, expires


def opened(session: Session, token: str, place: str) -> Opened:
    """The link of a token, locked until the transaction ends.

    Args:
        place: where it comes from; failures are counted by it.

    Raises:
        TooMany: too many that open nothing, from this place.
        Gone: it opens nothing.
    """
    throttle.check_place(place)
    found = session.execute(
        select(PasswordLink, Person)
        .join(Person, Person.id == PasswordLink.person_id)
        .where(PasswordLink.token_hash == token_hash(token), Person.active)
        .with_for_update(of=PasswordLink)
    ).first()
    if found is None or not _is_open(session, found.PasswordLink):
        throttle.count_place_failure(place)
        raise Gone(DEAD)
    return Opened(found.PasswordLink, found.Person)


def use(session: Session, token: str, password: str, place: str) -> Person:
    """Set the password; the link and all sessions of the person end.

    Raises:
        TooMany, Gone: as of :func:`opened`.
        Forbidden: nobody signs in here by a password.
        Invalid: the password is too short or too long; the link stands.
    """
    _passwords_are_taken()
    person = opened(session, token, place).person
    actions.set_password(session, person, password)
    record(session, "password_link.used", person_id=person.id, person=str(person.id))
    return person


def _is_open(session: Session, link: PasswordLink) -> bool:
    maker = session.get(Person, link.created_by) if link.created_by else None
    return link.expires_at > now() and maker is not None and maker.active and maker.role == "admin"


def _passwords_are_taken() -> None:
    if not get_settings().password_sign_in:
        raise Forbidden(_("Passwords are not taken here: people sign in through the provider."))
