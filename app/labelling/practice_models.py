"""Tables of practice: pairs with an explained answer, what was said of them, and how tries went."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified


class PracticePair(Identified, Base):
    """A pair to learn on. It stands by itself: no pair of a round, and never a label.

    ``answer`` is a, b, tie or both_bad; ``position`` the order in which they come, from 0.
    """

    __tablename__ = "practice_pairs"
    __table_args__ = (
        CheckConstraint("answer IN ('a', 'b', 'tie', 'both_bad')", name="answer"),
        Index("ix_practice_pairs_project", "project_id", "position"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    position: Mapped[int]
    prompt: Mapped[Any] = mapped_column(JSONB)
    completion_a: Mapped[str]
    completion_b: Mapped[str]
    answer: Mapped[str]
    explanation: Mapped[str]


class PracticeAnswer(Identified, Base):
    """What somebody said of a practice pair in one try; ``said`` is the choice, sides undone."""

    __tablename__ = "practice_answers"
    __table_args__ = (
        UniqueConstraint("person_id", "pair_id", "attempt"),
        CheckConstraint("choice IN ('left', 'right', 'tie', 'both_bad')", name="choice"),
        CheckConstraint("left_is IN ('a', 'b')", name="left_is"),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    pair_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("practice_pairs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    choice: Mapped[str]
    left_is: Mapped[str]
    said: Mapped[str]
    right: Mapped[bool]


class PracticeResult(Base):
    """A try that is over: how many of the pairs were answered rightly, and whether that was
    enough by the mark of that day (null: there was none). Who has passed once need not practise
    again."""

    __tablename__ = "practice_results"

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    right: Mapped[int]
    total: Mapped[int]
    passed: Mapped[bool | None]
    finished_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
