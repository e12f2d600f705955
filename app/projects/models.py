"""Tables of projects, prompts and pairs."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json

PAIR_STATES = ("pool", "open", "answered", "dropped", "unused", "equal", "gold", "evaluation")


class Project(Identified, Base):
    """One policy being taught by one stream of preferences, and how."""

    __tablename__ = "projects"
    __table_args__ = (
        CheckConstraint("batch_size BETWEEN 1 AND 100000", name="batch_size"),
        CheckConstraint("pool_size IS NULL OR pool_size >= batch_size", name="pool_size"),
        CheckConstraint("audit_fraction BETWEEN 0 AND 1", name="audit_fraction"),
        CheckConstraint("overlap >= 1", name="overlap"),
        CheckConstraint("overlap_share BETWEEN 0 AND 1", name="overlap_share"),
        CheckConstraint("gold_share BETWEEN 0 AND 0.5", name="gold_share"),
        CheckConstraint("practice_pass BETWEEN 0 AND 1", name="practice_pass"),
        CheckConstraint("source IN ('generated', 'imported')", name="source"),
        CheckConstraint("chat IN ('auto', 'off')", name="chat"),
        CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name"),
    )

    name: Mapped[str]
    base_model: Mapped[str]
    source: Mapped[str] = mapped_column(default="generated")
    acquisition: Mapped[str] = mapped_column(default="certainty")
    cold_start: Mapped[str] = mapped_column(default="random")
    batch_size: Mapped[int] = mapped_column(default=32)
    pool_size: Mapped[int | None]
    audit_fraction: Mapped[float] = mapped_column(default=0.0)
    overlap: Mapped[int] = mapped_column(default=1)
    overlap_share: Mapped[float] = mapped_column(default=1.0)
    adjudicate: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    require_rationale: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    questions: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'::jsonb"))
    break_minutes: Mapped[int | None] = mapped_column(default=45, server_default=text("45"))
    own_figures: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    system_prompt: Mapped[str | None]
    chat: Mapped[str] = mapped_column(default="auto")
    guidelines: Mapped[str] = mapped_column(default="")
    generation: Mapped[Json] = mapped_column(default=dict)
    training: Mapped[Json] = mapped_column(default=dict)
    judge: Mapped[Json | None]
    auto_next: Mapped[bool] = mapped_column(default=False)
    claim_seconds: Mapped[int | None]
    quota: Mapped[int | None]  # answers a person may give in the project, and in a round
    quota_per_round: Mapped[int | None]
    gold_share: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))
    practice_pass: Mapped[float | None]
    has_evaluation: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    has_gold: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    paused: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    keep_policies: Mapped[int | None]  # 0: all; null: as the site's setting says
    seed: Mapped[int] = mapped_column(default=0)
    archived: Mapped[bool] = mapped_column(default=False)
    deleted_at: Mapped[dt.datetime | None]  # hidden from all; a worker erases it
    policy_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", use_alter=True, ondelete="SET NULL")
    )
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )

    @property
    def effective_pool_size(self) -> int:
        """Prompts sampled for one round of a generating project."""
        return self.pool_size or 4 * self.batch_size

    @property
    def gate(self) -> float | None:
        """How sure a policy must be of a pair to label it itself; None: it never does."""
        gate: float | None = self.training.get("gate")
        return gate

    @property
    def weighs_opinions(self) -> bool:
        """Whether several opinions of a pair are counted by their authors' reliability."""
        return self.training.get("opinions") in ("reliability", "dawid_skene")


class Prompt(Identified, Base):
    """A prompt: a text, or chat messages. The hash of its content finds duplicates.

    ``gold``: it is here for a gold pair alone, and no round samples it.
    """

    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("project_id", "content_hash"),
        CheckConstraint("split IN ('train', 'eval')", name="split"),
        Index(
            "ix_prompts_sampling",
            "project_id",
            "split",
            "times_used",
            postgresql_where=text("NOT gold"),
        ),
        Index("ix_prompts_page", "project_id", "id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    content: Mapped[Any] = mapped_column(JSONB)
    content_hash: Mapped[str]
    split: Mapped[str] = mapped_column(default="train")
    external_id: Mapped[str | None]
    times_used: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    gold: Mapped[bool] = mapped_column(default=False, server_default=text("false"))


class Pair(Identified, Base):
    """A prompt and two completions, with the numbers that got them chosen or not.

    ``state``: ``pool`` (may be selected), ``open`` (in a round's batch, waiting for answers),
    ``answered`` (has them), ``dropped`` (everyone skipped it), ``unused`` (its round is over),
    ``equal`` (both completions are the same: never shown), ``gold`` (its answer is known:
    :class:`app.labelling.models.GoldPair`), ``evaluation`` (of a blind evaluation, and of no
    round: :class:`app.evaluations.models.Evaluation`). Of the last, ``slots`` is how many people
    are asked, 0 where both completions are the same, and ``swapped`` that completion a is side
    B's: its annotators read a and b in their answers, which must not tell the sides.
    ``wanted``: somebody asked for it to be labelled; it comes before what the acquisition chooses.
    ``rank`` is the acquisition's order in the round's pool, ``audit_rank`` a random order of
    the same pool from which the audit share is drawn. ``review``: annotators disagreed, and the
    last slot is a reviewer's. ``logp_*`` and ``ref_logp_*`` are summed
    log-probabilities in nats, ``margin`` is r(a) - r(b), ``entropy`` the prompt's, in nats,
    ``perplexity`` exp(−log π_θ / tokens) over both completions.
    """

    __tablename__ = "pairs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pool', 'open', 'answered', 'dropped', 'unused', 'equal', 'gold',"
            " 'evaluation')",
            name="state",
        ),
        # a pair is asked about in a round or in an evaluation, never in both
        CheckConstraint("(state = 'evaluation') = (evaluation_id IS NOT NULL)", name="evaluation"),
        CheckConstraint("round_id IS NULL OR evaluation_id IS NULL", name="one_owner"),
        Index(
            "uq_pairs_evaluation_prompt",
            "evaluation_id",
            "prompt_id",
            unique=True,
            postgresql_where=text("evaluation_id IS NOT NULL"),
        ),
        UniqueConstraint("project_id", "content_hash"),
        Index(
            "ix_pairs_pool",
            "project_id",
            postgresql_where=text("state = 'pool' AND round_id IS NULL"),
        ),
        Index("ix_pairs_states", "project_id", "state"),
        Index("ix_pairs_open", "round_id", "rank", postgresql_where=text("state = 'open'")),
        Index("ix_pairs_review", "round_id", postgresql_where=text("review AND state = 'open'")),
        Index(
            "ix_pairs_round",
            "round_id",
            "state",
            "rank",
            postgresql_where=text("round_id IS NOT NULL"),
        ),
        Index("ix_pairs_page", "project_id", "id"),
        Index("ix_pairs_prompt_id", "prompt_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="SET NULL"))
    evaluation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE")
    )
    policy_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", ondelete="SET NULL")
    )
    external_id: Mapped[str | None]
    content_hash: Mapped[str | None]
    completion_a: Mapped[str]
    completion_b: Mapped[str]
    tokens_prompt: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    tokens_a: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    tokens_b: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    finished_a: Mapped[bool] = mapped_column(default=True)
    finished_b: Mapped[bool] = mapped_column(default=True)
    state: Mapped[str] = mapped_column(default="pool")
    slots: Mapped[int] = mapped_column(default=1)
    review: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    rank: Mapped[int | None]
    audit_rank: Mapped[int | None]
    audit: Mapped[bool] = mapped_column(default=False)
    swapped: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    wanted: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    logp_a: Mapped[float | None]
    logp_b: Mapped[float | None]
    ref_logp_a: Mapped[float | None]
    ref_logp_b: Mapped[float | None]
    margin: Mapped[float | None]
    entropy: Mapped[float | None]
    perplexity: Mapped[float | None]
    features: Mapped[bytes | None]  # (2, d) float32: what the acquisition looked at
    scored_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("policies.id", ondelete="SET NULL")
    )
    scored_at: Mapped[dt.datetime | None]


class Snapshot(Base):
    """What a large project's labels came to at a moment; small ones are counted each time."""

    __tablename__ = "snapshots"

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    taken_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    data: Mapped[Json] = mapped_column(default=dict)
