"""Tables of attached oracles, of verdicts kept, of webhooks and what they were told."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json

KINDS = ("openai", "sentiment", "reward_model", "local_judge", "length", "regex", "callable")
LEFT_TO_PEOPLE = "it is of the audit share, which people label"
"""The reason of a skip that is no abstention: what the oracle thinks stands in its ``judge``."""

ON_ACCELERATOR = ("reward_model", "local_judge")
"""Kinds that need a model: they are judged where the accelerator is."""


class Oracle(Identified, Base):
    """A judge attached to a project: a person of its own, and how it judges.

    ``state``: ``active``; ``waiting`` (in trouble, tries again at ``next_try_at``); ``stopped``
    (it cannot go on by itself: ``error`` says why); ``detached``. A worker works for it under a
    lease and the fencing number ``attempt``, as for a run. ``spent`` counts calls, tokens, cost.
    """

    __tablename__ = "oracles"
    __table_args__ = (
        CheckConstraint("mode IN ('alone', 'first', 'with_people', 'people_first')", name="mode"),
        CheckConstraint("state IN ('active', 'waiting', 'stopped', 'detached')", name="state"),
        Index(
            "uq_oracles_attached",
            "project_id",
            unique=True,
            postgresql_where=text("state <> 'detached'"),
        ),
        Index("ix_oracles_person_id", "person_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    kind: Mapped[str]
    mode: Mapped[str] = mapped_column(default="alone")
    settings: Mapped[Json] = mapped_column(default=dict)
    secret: Mapped[str | None]  # sealed
    state: Mapped[str] = mapped_column(default="active")
    error: Mapped[str | None]
    failures: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[dt.datetime | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    spent: Mapped[Json] = mapped_column(default=dict)
    detached_at: Mapped[dt.datetime | None]


class Verdict(Base):
    """A reply kept by the content that was judged: what is asked again is not paid again."""

    __tablename__ = "verdicts"

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    reply: Mapped[Json]


class Webhook(Identified, Base):
    """An address that is told of events, signed with a secret of its own."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_project_id", "project_id"),)

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    url: Mapped[str]
    events: Mapped[list[Any]] = mapped_column(default=list)  # empty: all
    secret: Mapped[str]  # sealed
    active: Mapped[bool] = mapped_column(default=True)


class Delivery(Identified, Base):
    """One event on its way to one webhook. ``state``: ``pending``, ``delivered``, ``dead``."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
        Index("ix_deliveries_page", "webhook_id", "id"),
        Index("ix_deliveries_due", "next_at", postgresql_where=text("state = 'pending'")),
    )

    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    kind: Mapped[str]
    payload: Mapped[Json]
    state: Mapped[str] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    status: Mapped[int | None]
    error: Mapped[str | None]
    delivered_at: Mapped[dt.datetime | None]
