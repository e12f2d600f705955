"""Tables of claims, preferences and their history."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Text,
    and_,
    func,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json

OWN_SLOT = 1_000
"""The slot of an oracle that labels beside people: it fills none of theirs. Those of gold pairs,
which as many people answer as are asked, lie above it."""

GOLD = "gold"
"""The state of a pair whose answer is known."""

EVALUATION = "evaluation"
"""The state of a pair of a blind evaluation."""

ANSWERS = ("a", "b", "tie", "both_bad")
"""What may be said of a pair, sides undone."""

FLAGS = ("unsafe", "personal_data", "broken", "wrong_language")
CHOICES = ("left", "right", "tie", "both_bad", "skip")


class Claim(Identified, Base):
    """A slot of a pair, held by one annotator for a while.

    ``state``: ``live`` (held), ``answered`` (filled by a preference), ``skipped``, ``released``,
    ``expired``. ``left_is`` says which completion this annotator sees on the left. It was handed
    out for a round or for an evaluation, never for both.
    """

    __tablename__ = "claims"
    __table_args__ = (
        CheckConstraint(
            "state IN ('live', 'answered', 'skipped', 'released', 'expired')", name="state"
        ),
        CheckConstraint("left_is IN ('a', 'b')", name="left_is"),
        CheckConstraint("num_nonnulls(round_id, evaluation_id) = 1", name="one_owner"),
        # two annotators never hold the same slot of a pair at once
        Index(
            "uq_claims_slot",
            "pair_id",
            "slot",
            unique=True,
            postgresql_where=text("state IN ('live', 'answered')"),
        ),
        # nobody holds, or has answered or skipped, a pair twice
        Index(
            "uq_claims_person",
            "pair_id",
            "person_id",
            unique=True,
            postgresql_where=text("state IN ('live', 'answered', 'skipped')"),
        ),
        Index("ix_claims_pair_id", "pair_id"),
        Index("ix_claims_expiry", "expires_at", postgresql_where=text("state = 'live'")),
        Index("ix_claims_round", "round_id", "state"),
        Index(
            "ix_claims_quota",
            "project_id",
            "person_id",
            postgresql_where=text("state IN ('live', 'answered')"),
        ),
        Index("ix_claims_holder", "person_id", postgresql_where=text("state = 'live'")),
        Index(
            "ix_claims_evaluation",
            "evaluation_id",
            postgresql_where=text("evaluation_id IS NOT NULL"),
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    evaluation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE")
    )
    pair_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("pairs.id", ondelete="CASCADE"))
    slot: Mapped[int]
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    left_is: Mapped[str]
    state: Mapped[str] = mapped_column(default="live")
    expires_at: Mapped[dt.datetime]


class Preference(Identified, Base):
    """What one annotator said of one pair. ``chosen`` is the completion, sides undone.

    ``review``: a reviewer's answer to a disagreement, which decides.
    ``frozen_in`` is the round whose batch it was fixed in; until then it may be amended.
    ``flags`` are of the pair, ``reason`` is why it was skipped, ``answers`` are what was said, by
    name, to the project's further questions (:mod:`app.projects.questions`).
    ``recorded``: it came with imported pairs, from outside: no claim, and of no round.
    ``gold``: said of a gold pair (:class:`GoldPair`), so it tells of its annotator and nothing
    else: it is no label, counts in no batch and is never trained on.
    ``evaluation_id``: said of a pair of a blind evaluation: no label either, and of no round.
    """

    __tablename__ = "preferences"
    __table_args__ = (
        CheckConstraint("choice IN ('left', 'right', 'tie', 'both_bad', 'skip')", name="choice"),
        CheckConstraint("left_is IN ('a', 'b')", name="left_is"),
        CheckConstraint(
            "(choice = 'left' AND chosen = left_is)"
            " OR (choice = 'right' AND chosen IS NOT NULL AND chosen <> left_is)"
            " OR (choice IN ('tie', 'both_bad', 'skip') AND chosen IS NULL)",
            name="chosen",
        ),
        CheckConstraint("strength BETWEEN 1 AND 3", name="strength"),
        CheckConstraint("p_left BETWEEN 0 AND 1", name="p_left"),
        CheckConstraint(
            "recorded OR (num_nonnulls(round_id, evaluation_id) = 1 AND claim_id IS NOT NULL)",
            name="recorded",
        ),
        CheckConstraint(
            "evaluation_id IS NULL OR NOT (gold OR review OR recorded OR round_id IS NOT NULL"
            " OR frozen_in IS NOT NULL)",
            name="evaluation",
        ),
        # one preference a pair and annotator
        Index(
            "uq_preferences_pair_person",
            "pair_id",
            "person_id",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "uq_preferences_claim",
            "claim_id",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_preferences_page", "project_id", "id"),
        # what the dashboard counts, without a look at the rows themselves
        Index(
            "ix_preferences_counted",
            "project_id",
            postgresql_include=["choice", "gold", "person_id", "evaluation_id"],
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # whom a deleted pair or claim takes along
        Index("ix_preferences_pair_id", "pair_id"),
        Index("ix_preferences_claim_id", "claim_id"),
        Index("ix_preferences_round", "round_id"),
        Index("ix_preferences_gold", "project_id", "person_id", postgresql_where=text("gold")),
        Index(
            "ix_preferences_evaluation",
            "evaluation_id",
            "pair_id",
            postgresql_where=text("evaluation_id IS NOT NULL"),
        ),
        Index(
            "ix_preferences_unfrozen",
            "project_id",
            postgresql_where=text("frozen_in IS NULL AND deleted_at IS NULL"),
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    round_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    evaluation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("evaluations.id", ondelete="CASCADE")
    )
    pair_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("pairs.id", ondelete="CASCADE"))
    claim_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("claims.id", ondelete="CASCADE"))
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    choice: Mapped[str]
    chosen: Mapped[str | None]
    left_is: Mapped[str]
    strength: Mapped[int | None]
    rationale: Mapped[str | None]
    p_left: Mapped[float | None]
    judge: Mapped[Json | None]
    flags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    reason: Mapped[str | None]
    answers: Mapped[Json | None]
    seconds: Mapped[float | None]
    version: Mapped[int] = mapped_column(default=1)
    late: Mapped[bool] = mapped_column(default=False)
    review: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    recorded: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    gold: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    frozen_in: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("rounds.id", ondelete="SET NULL")
    )
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[dt.datetime | None]

    @hybrid_property
    def is_label(self) -> bool:
        """Whether it is a label: neither of a gold pair nor of an evaluation."""
        return not self.gold and self.evaluation_id is None

    @is_label.inplace.expression
    @classmethod
    def _is_label(cls) -> ColumnElement[bool]:
        return and_(~cls.gold, cls.evaluation_id.is_(None))


class PreferenceVersion(Base):
    """Every value a preference ever had: append-only."""

    __tablename__ = "preference_versions"

    preference_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("preferences.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    choice: Mapped[str | None]  # null: undone
    chosen: Mapped[str | None]
    strength: Mapped[int | None]
    rationale: Mapped[str | None]
    p_left: Mapped[float | None]
    judge: Mapped[Json | None]
    flags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    reason: Mapped[str | None]
    answers: Mapped[Json | None]


class GoldPair(Base):
    """A pair whose right answer is known, mixed unseen among those that annotators are given.

    Its pair is in the state ``gold``, of no round, and nothing else: one that was made from a
    labelled pair (``source_pair_id``) is a copy, so that the label stays what it is. ``answer``
    is a, b, tie or both_bad. Once ``retired_at`` is set nobody is shown it any more, and its
    answers count for nobody.
    """

    __tablename__ = "gold_pairs"
    __table_args__ = (
        CheckConstraint("answer IN ('a', 'b', 'tie', 'both_bad')", name="answer"),
        Index("ix_gold_pairs_project", "project_id", "pair_id"),
        Index("uq_gold_pairs_source", "source_pair_id", unique=True),
    )

    pair_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("pairs.id", ondelete="CASCADE"), primary_key=True
    )
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    source_pair_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("pairs.id", ondelete="SET NULL")
    )
    answer: Mapped[str]
    explanation: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    retired_at: Mapped[dt.datetime | None]


class Withheld(Base):
    """A pair flagged as personal data: its prompt's pairs are shown to nobody but who flagged it
    and the project's managers."""

    __tablename__ = "withheld"
    __table_args__ = (
        Index("ix_withheld_open", "project_id", postgresql_where=text("cleared_at IS NULL")),
        Index("ix_withheld_prompt", "prompt_id", postgresql_where=text("cleared_at IS NULL")),
    )

    pair_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("pairs.id", ondelete="CASCADE"), primary_key=True
    )
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"))
    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    flagged_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    cleared_at: Mapped[dt.datetime | None]
    cleared_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
