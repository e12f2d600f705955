"""Tables of rounds, runs (a worker's hold on model work), frozen labels and events."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app import tracing
from app.database import Base, Identified, Json

ROUND_STATES = (
    "queued",
    "generating",
    "labelling",
    "training",
    "evaluating",
    "done",
    "failed",
    "cancelled",
)
CLOSED = ("done", "cancelled")


class Round(Identified, Base):
    """One turn of the loop: generate, label, train, evaluate."""

    __tablename__ = "rounds"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        CheckConstraint(
            "state IN ('queued', 'generating', 'labelling', 'training', 'evaluating', 'done', "
            "'failed', 'cancelled')",
            name="state",
        ),
        # one open round a project, whatever Python does
        Index(
            "uq_rounds_one_open",
            "project_id",
            unique=True,
            postgresql_where=text("state NOT IN ('done', 'cancelled')"),
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(default="queued")
    needed: Mapped[int]
    answered: Mapped[int] = mapped_column(default=0)
    stage: Mapped[str | None]
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    policy_in_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", ondelete="SET NULL", use_alter=True)
    )
    policy_out_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", ondelete="SET NULL", use_alter=True)
    )
    seed: Mapped[int] = mapped_column(BigInteger, default=0)
    metrics: Mapped[Json] = mapped_column(default=dict)
    error: Mapped[str | None]
    failed_stage: Mapped[str | None]
    started_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    finished_at: Mapped[dt.datetime | None]
    traceparent: Mapped[str | None] = mapped_column(default=tracing.of_round)


class Run(Identified, Base):
    """Model work of a round, an evaluation or a trial, held by one worker at a time.

    ``attempt`` is the fencing number: it rises with every taking, and only the attempt that is
    current may write. ``shard`` counts the parts of a generation; other kinds have one.
    """

    __tablename__ = "runs"
    __table_args__ = (
        # one training a round, one storing of every shard
        UniqueConstraint("project_id", "round_id", "kind", "shard"),
        # of an evaluation: one storing of every shard
        UniqueConstraint("evaluation_id", "shard"),
        CheckConstraint("kind IN ('generate', 'train', 'evaluate', 'compare', 'try')", name="kind"),
        CheckConstraint("num_nonnulls(round_id, evaluation_id, trial_id) = 1", name="one_owner"),
        CheckConstraint("(kind = 'compare') = (evaluation_id IS NOT NULL)", name="compare"),
        CheckConstraint("(kind = 'try') = (trial_id IS NOT NULL)", name="try"),
        CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"
        ),
        Index("ix_runs_waiting", "created_at", postgresql_where=text("state = 'queued'")),
        Index("ix_runs_held", "lease_expires_at", postgresql_where=text("state = 'running'")),
        Index("ix_runs_round_id", "round_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    evaluation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE")
    )
    trial_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("trials.id", ondelete="CASCADE"), unique=True
    )
    kind: Mapped[str]
    shard: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    stuck: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    checkpoint_uri: Mapped[str | None]
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    input: Mapped[Json] = mapped_column(default=dict)
    output: Mapped[Json] = mapped_column(default=dict)
    error: Mapped[str | None]
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]

    @property
    def owner_id(self) -> uuid.UUID:
        """The round, evaluation or trial whose work it is."""
        owner = self.round_id or self.evaluation_id or self.trial_id
        assert owner is not None, "a CHECK says that it has one"
        return owner


class TrainingLabel(Base):
    """A preference, in the version that a round trains on: fixed when its batch completed.

    A trigger refuses what is no label: what was said of gold pairs and in evaluations.
    """

    __tablename__ = "training_labels"
    __table_args__ = (Index("ix_training_labels_preference_id", "preference_id"),)

    round_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("rounds.id", ondelete="CASCADE"), primary_key=True
    )
    preference_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("preferences.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int]


class Event(Base):
    """What happened, in order; append-only."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_round_id", "round_id", "id"),
        Index("ix_events_project_id", "project_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    project_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE")
    )
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    kind: Mapped[str]
    data: Mapped[Json] = mapped_column(default=dict)
