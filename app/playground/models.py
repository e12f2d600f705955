"""Table of trials: a prompt that two policies answer, for a while."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json


class Trial(Identified, Base):
    """What two policies answer to one prompt. It is forgotten at ``expires_at``.

    ``state``: ``waiting`` (for a worker, or with one), ``done``, ``failed``, ``cancelled``.
    ``pair_id`` is the pair that was made of it, if somebody wished to keep it.
    """

    __tablename__ = "trials"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'done', 'failed', 'cancelled')", name="state"),
        CheckConstraint(
            "state <> 'done' OR (completion_a IS NOT NULL AND completion_b IS NOT NULL)",
            name="done",
        ),
        CheckConstraint("pair_id IS NULL OR state = 'done'", name="kept"),
        Index("ix_trials_expires_at", "expires_at"),
        Index("ix_trials_project_id", "project_id"),
        Index("ix_trials_person_id", "person_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    prompt: Mapped[Any] = mapped_column(JSONB)
    policy_a_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("policies.id", ondelete="CASCADE"))
    policy_b_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("policies.id", ondelete="CASCADE"))
    generation: Mapped[Json] = mapped_column(default=dict)
    seed: Mapped[int]
    state: Mapped[str] = mapped_column(default="waiting")
    completion_a: Mapped[str | None]
    completion_b: Mapped[str | None]
    finished_a: Mapped[bool | None]
    finished_b: Mapped[bool | None]
    error: Mapped[str | None]
    pair_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("pairs.id", ondelete="SET NULL"))
    expires_at: Mapped[dt.datetime]
