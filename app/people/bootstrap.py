"""The first admin and the first key, from the environment; the same again at every start."""

from __future__ import annotations

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.database import transaction
from app.people import passwords, text
from app.people.access import token_hash
from app.people.models import ApiKey, Person
from app.settings import Settings, get_settings

log = structlog.get_logger()
FALLBACK_EMAIL = "admin@localhost"
_LOCK = 4711003


def at_start() -> None:
    """Bootstrap from the environment; without database or tables, leave it to `/readyz`."""
    settings = get_settings()
    if settings.database_url is None or not (settings.admin_email or settings.api_key):
        return
    try:
        with transaction() as session:
            bootstrap(session, settings)
    except (OperationalError, ProgrammingError) as error:
        log.warning("bootstrap_postponed", error=type(error.orig).__name__)


def bootstrap(session: Session, settings: Settings) -> None:
    """Make sure that the admin and the key of the environment are there.

    Runs at every start of every process: what exists is not touched, so a password that was
    changed stays changed and a key that was revoked stays revoked.
    """
    if not (settings.admin_email or settings.api_key):
        return
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    admin = _admin(session, settings)
    if settings.api_key is not None:
        secret = settings.api_key.get_secret_value()
        session.execute(
            insert(ApiKey)
            .values(
                person_id=admin.id,
                name="from the environment",
                scope="admin",
                prefix=secret[:4],
                key_hash=token_hash(secret),
            )
            .on_conflict_do_nothing()
        )


def _admin(session: Session, settings: Settings) -> Person:
    email = text.email(settings.admin_email or FALLBACK_EMAIL)
    person = session.scalar(select(Person).where(Person.email == email))
    if person is None:
        person = Person(email=email, name="Admin", role="admin")
        session.add(person)
    if person.password_hash is None and settings.admin_password is not None:
        person.password_hash = passwords.hashed(settings.admin_password.get_secret_value())
    session.flush()
    return person
