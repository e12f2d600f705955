"""What is kept of people no longer than needed: by rule, asked for by beat. Callers commit."""

from __future__ import annotations

import datetime as dt

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.people.access import IDLE_END, now
from app.people.models import Person, SignIn
from app.privacy.actions import delete_person
from app.rounds.events import record
from app.settings import get_settings

log = structlog.get_logger()
MOST_AT_ONCE = 50


def enforce(session: Session) -> int:
    """Forget ended sessions, and who was deactivated longer ago than the settings say.

    Their labels stay, under "deleted person N". Who cannot go (an oracle's account, the only owner
    of a project) stays until somebody sees to it; the log names them by id.

    Returns:
        How many people were forgotten.
    """
    ended = (SignIn.expires_at < now()) | (SignIn.last_seen_at < now() - IDLE_END)
    session.execute(delete(SignIn).where(ended))
    days = get_settings().forget_people_days
    return 0 if days is None else sum(_forget(session, one) for one in _due(session, days))


def _due(session: Session, days: int) -> list[Person]:
    overdue = Person.deactivated_at < now() - dt.timedelta(days=days)
    people = select(Person).where(~Person.active, Person.deleted_at.is_(None), overdue)
    locked = people.order_by(Person.deactivated_at, Person.id).limit(MOST_AT_ONCE)
    return list(session.scalars(locked.with_for_update(skip_locked=True)))


def _forget(session: Session, person: Person) -> bool:
    try:
        with session.begin_nested():
            delete_person(session, person, "keep", None)
            days = get_settings().forget_people_days
            record(session, "person.retention", person=str(person.id), days=days)
    except Conflict:
        log.warning("person_kept_beyond_retention", person=str(person.id))
        return False
    return True
