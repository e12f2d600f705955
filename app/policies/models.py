"""Table of policies and their lineage."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json


class Policy(Identified, Base):
    """A policy: π_0 (``base``), an ``adapter`` on it, or ``full`` weights.

    ``number`` 0 is the base; later ones carry the number of the round that made them.
    ``path`` is the folder in the artefact store, relative to its root; null for the base.
    ``removed_at``: the rule of retention let its files go, nothing may use them any more;
    ``reclaimed_at``: they are gone. One that is ``pinned`` stays.
    """

    __tablename__ = "policies"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        UniqueConstraint("round_id"),
        CheckConstraint("kind IN ('base', 'adapter', 'full')", name="kind"),
        CheckConstraint("(kind = 'base') = (path IS NULL)", name="path"),
        CheckConstraint("removed_at IS NULL OR NOT (pinned OR kind = 'base')", name="removed"),
        CheckConstraint("reclaimed_at IS NULL OR removed_at IS NOT NULL", name="reclaimed"),
        Index(
            "ix_policies_to_reclaim",
            "removed_at",
            postgresql_where=text("removed_at IS NOT NULL AND reclaimed_at IS NULL"),
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str]
    base_model: Mapped[str]
    parent_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", ondelete="SET NULL")
    )
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    path: Mapped[str | None]
    files: Mapped[Json] = mapped_column(default=dict)  # file name -> {"size", "sha256"}
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    labels: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[Json] = mapped_column(default=dict)
    pinned: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    removed_at: Mapped[dt.datetime | None]
    reclaimed_at: Mapped[dt.datetime | None]
