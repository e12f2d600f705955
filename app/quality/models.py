"""Table of annotators whose labels a project sets aside."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ColumnElement, ForeignKey, func, select
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.labelling.models import Preference


class SetAside(Base):
    """A person whose labels in a project are neither trained on nor exported while this stands."""

    __tablename__ = "set_asides"

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    reason: Mapped[str]
    set_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("people.id", ondelete="SET NULL"))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


def is_set_aside() -> ColumnElement[bool]:
    """Whether ``Preference`` is of a person whose labels are set aside."""
    return (
        select(SetAside.person_id)
        .where(
            SetAside.project_id == Preference.project_id,
            SetAside.person_id == Preference.person_id,
        )
        .correlate(Preference)
        .exists()
    )
