"""What workers write of themselves. Callers commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.database import new_id
from app.system.models import Worker

KEPT_DAYS = 7
"""How long a worker that says nothing any more stays on the page."""


@dataclass(frozen=True)
class Identity:
    """What does not change while a worker process lives."""

    owner: str
    host: str
    pid: int
    queues: tuple[str, ...]
    version: str
    revision: str | None


def seen(
    session: Session,
    who: Identity,
    device: dict[str, Any],
    tallies: dict[str, Any],
    *,
    stopping: bool = False,
) -> None:
    """The worker is there, at the database's time, and has counted this much."""
    now = func.clock_timestamp()
    said = {
        "device": device,
        "tallies": tallies,
        "seen_at": now,
        "stopped_at": now if stopping else None,
    }
    row = insert(Worker).values(
        id=new_id(),
        owner=who.owner,
        host=who.host,
        pid=who.pid,
        queues=list(who.queues),
        version=who.version,
        revision=who.revision,
        **said,
    )
    session.execute(row.on_conflict_do_update(index_elements=[Worker.owner], set_=said))


def forget_silent(session: Session) -> None:
    """Remove workers that have said nothing for :data:`KEPT_DAYS`."""
    age = func.make_interval(0, 0, 0, KEPT_DAYS)
    session.execute(delete(Worker).where(Worker.seen_at < func.now() - age))
