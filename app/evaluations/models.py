"""Tables of blind evaluations, and of completions that another model wrote elsewhere."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json

OPEN, OVER = "open", ("decided", "closed", "cancelled")
STATES = ("generating", OPEN, "failed", *OVER)


class Evaluation(Identified, Base):
    """Side A against side B on the same prompts; each side is a policy or imported outputs.

    ``state``: ``generating`` (a worker writes the completions), ``open`` (people answer),
    ``decided`` (the evidence for ``better`` was enough, at level ``alpha``), ``closed`` (all was
    answered, or a manager ended it), ``failed`` (the completions could not be written),
    ``cancelled``. Its pairs are in the state ``evaluation``; what is said of them are preferences
    with its id.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        CheckConstraint(
            "state IN ('generating', 'open', 'decided', 'closed', 'failed', 'cancelled')",
            name="state",
        ),
        CheckConstraint("(state = 'decided') = (better IS NOT NULL)", name="decided"),
        CheckConstraint("better IN ('a', 'b')", name="better"),
        CheckConstraint("num_nonnulls(policy_a_id, outputs_a_id) = 1", name="side_a"),
        CheckConstraint("num_nonnulls(policy_b_id, outputs_b_id) = 1", name="side_b"),
        # where one of a comparison is null nothing is refused
        CheckConstraint(
            "policy_a_id <> policy_b_id AND outputs_a_id <> outputs_b_id", name="two_sides"
        ),
        CheckConstraint("answered_by IN ('people', 'oracle', 'anybody')", name="answered_by"),
        CheckConstraint("overlap BETWEEN 1 AND 100", name="overlap"),
        CheckConstraint("alpha > 0 AND alpha < 0.5", name="alpha"),
        Index("ix_evaluations_open", "project_id", postgresql_where=text("state = 'open'")),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(default="generating")
    policy_a_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("policies.id"))
    outputs_a_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("outputs.id"))
    policy_b_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("policies.id"))
    outputs_b_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("outputs.id"))
    prompts: Mapped[str]  # the split asked: eval, train or all
    sample: Mapped[int | None]
    pairs: Mapped[int] = mapped_column(default=0)
    overlap: Mapped[int] = mapped_column(default=1)
    answered_by: Mapped[str] = mapped_column(default="people")
    alpha: Mapped[float] = mapped_column(default=0.05)
    stop_early: Mapped[bool] = mapped_column(default=True)
    generation: Mapped[Json] = mapped_column(default=dict)
    seed: Mapped[int] = mapped_column(BigInteger, default=0)
    better: Mapped[str | None]
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    left_out: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    opened_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class Outputs(Identified, Base):
    """What another model answered to prompts of the project, imported from a file."""

    __tablename__ = "outputs"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str]
    count: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )


class Output(Base):
    """One completion of imported outputs."""

    __tablename__ = "output_completions"
    __table_args__ = (Index("ix_output_completions_prompt_id", "prompt_id"),)

    outputs_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("outputs.id", ondelete="CASCADE"), primary_key=True
    )
    prompt_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True
    )
    completion: Mapped[str]
