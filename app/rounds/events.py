"""Recording what happened, in the transaction in which it happened."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from app.oracles import webhooks
from app.rounds.models import Event


def record(
    session: Session,
    kind: str,
    *,
    project_id: uuid.UUID | None = None,
    round_id: uuid.UUID | None = None,
    person_id: uuid.UUID | None = None,
    **data: Any,
) -> None:
    """Append an event, and tell webhooks; ids and numbers only, never texts or secrets."""
    session.add(
        Event(kind=kind, project_id=project_id, round_id=round_id, person_id=person_id, data=data)
    )
    told = {"round": str(round_id) if round_id else None, **data}
    webhooks.announce(session, kind, project_id, told)
