"""Keeping an answer and finding it again.

The answer is stored in the transaction that did what it tells: both are there, or neither. While
that transaction runs, a lock of its own tells the same call from elsewhere that it is under way;
a process that dies gives the lock back and leaves nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.idempotency.models import KeptAnswer
from app.sealed import UnreadableSecretError, seal, unseal

HEADER = "Idempotency-Key"
KEPT_FOR = dt.timedelta(hours=24)


@dataclass(frozen=True)
class Asked:
    """One call: who asked, by which key, and the hash of what was asked."""

    caller: uuid.UUID
    person_id: uuid.UUID
    key: str
    fingerprint: str


def answer_to(session: Session, asked: Asked) -> tuple[int, bytes] | None:
    """The first answer (status and body), or None where this call is the first.

    The key is locked to the end of the session's transaction.

    Raises:
        Conflict: the same call is under way; ``retry_after`` says when to come again.
        Invalid: the key was used for something else.
    """
    if not session.scalar(select(func.pg_try_advisory_xact_lock(_lock_of(asked)))):
        raise _under_way()
    kept = session.get(KeptAnswer, (asked.caller, asked.key), populate_existing=True)
    if kept is None:
        return None
    if kept.created_at < dt.datetime.now(dt.UTC) - KEPT_FOR:
        session.delete(kept)
        session.flush()
        return None
    if kept.fingerprint != asked.fingerprint:
        raise Invalid(f"{HEADER}: this key was used for another request.", field=HEADER)
    try:
        return kept.status, unseal(kept.answer).encode()
    except UnreadableSecretError:
        raise Conflict(
            "This was done before, and the site's secret key has changed since: the answer "
            "cannot be read any more."
        ) from None


def keep(session: Session, asked: Asked, status: int, body: bytes) -> None:
    """Keep the answer to a call whose key is locked.

    Raises:
        Conflict: a deadlock took the lock meanwhile, and the same call was faster elsewhere.
    """
    values = {
        "caller": asked.caller,
        "key": asked.key,
        "person_id": asked.person_id,
        "fingerprint": asked.fingerprint,
        "status": status,
        "answer": seal(body.decode()),
    }
    stored = insert(KeptAnswer).values(values).on_conflict_do_nothing().returning(KeptAnswer.key)
    if session.scalar(stored) is None:
        raise _under_way()


def forget_old(session: Session) -> None:
    """Remove answers that are no longer given."""
    session.execute(delete(KeptAnswer).where(KeptAnswer.created_at < func.now() - KEPT_FOR))


def _under_way() -> Conflict:
    detail = f"A call with this {HEADER} is under way: send it again in a moment."
    return Conflict(detail, retry_after=1)


def _lock_of(asked: Asked) -> int:
    name = f"idempotency\0{asked.caller}\0{asked.key}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True)
