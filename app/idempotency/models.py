"""The table of answers that are kept for a repeated call."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base


class KeptAnswer(Base):
    """The answer to a call that named an ``Idempotency-Key``.

    ``caller`` is the API key, or the person of a browser session. ``fingerprint`` is the hash of
    what was asked. ``answer`` is sealed: some answers show a secret, which is kept nowhere else.
    """

    __tablename__ = "kept_answers"
    __table_args__ = (Index("ix_kept_answers_created_at", "created_at"),)

    caller: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    fingerprint: Mapped[str]
    status: Mapped[int]
    answer: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
