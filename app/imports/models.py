"""The table of files that are kept for a while beside an import."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified


class KeptFile(Identified, Base):
    """A file that somebody sent and has yet to import, or the lines that an import refused.

    The file lies in the artefact store. The row is written before it and outlives its project
    and person, so that the file is always found and swept. ``size`` is null until the file is
    whole.
    """

    __tablename__ = "kept_files"
    __table_args__ = (
        CheckConstraint("kind IN ('prompts', 'pairs', 'refused')", name="kind"),
        Index("ix_kept_files_created_at", "created_at"),
        Index("ix_kept_files_person", "person_id", "created_at"),
    )

    project_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("projects.id", ondelete="SET NULL")
    )
    person_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    kind: Mapped[str]
    name: Mapped[str]
    format: Mapped[str]
    size: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def folder(self) -> str:
        """Where it is, in the artefact store."""
        return f"imports/{self.id}"
