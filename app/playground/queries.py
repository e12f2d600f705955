"""All SQL of the playground."""

from __future__ import annotations

import uuid

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.playground.models import Trial


def lock(session: Session, trial_id: uuid.UUID | None) -> Trial | None:
    """The trial, locked."""
    if trial_id is None:
        return None
    return session.scalar(
        select(Trial)
        .where(Trial.id == trial_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def counts(session: Session, person_id: uuid.UUID, seconds: int) -> tuple[int, int, float]:
    """(trials of the last ``seconds``, how many of them wait, seconds until the oldest is too old).

    Two calls of one person at once count one after the other: locked to the transaction's end.
    """
    key = int.from_bytes(person_id.bytes[:8], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(key)))
    age = func.extract("epoch", func.now() - Trial.created_at)
    row = session.execute(
        select(
            func.count(),
            func.count().filter(Trial.state == "waiting"),
            func.coalesce(seconds - func.max(age), 0),
        ).where(Trial.person_id == person_id, age < seconds)
    ).one()
    return int(row[0]), int(row[1]), float(row[2])


def forget_expired(session: Session) -> int:
    """Delete trials whose time is over, their work along with them; how many."""
    gone = delete(Trial).where(Trial.expires_at < func.now()).returning(Trial.id)
    return len(session.scalars(gone).all())
