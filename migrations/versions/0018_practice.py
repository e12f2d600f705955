"""Practice pairs with explained answers, what was said of them, and how tries went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _created() -> sa.Column[object]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _to(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "practice_pairs",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created(),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prompt", postgresql.JSONB(), nullable=False),
        sa.Column("completion_a", sa.String(), nullable=False),
        sa.Column("completion_b", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("explanation", sa.String(), nullable=False),
        sa.CheckConstraint(
            "answer IN ('a', 'b', 'tie', 'both_bad')", name=op.f("ck_practice_pairs_answer")
        ),
        _to("practice_pairs", "project_id", "projects"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_pairs")),
    )
    op.create_index("ix_practice_pairs_project", "practice_pairs", ["project_id", "position"])
    op.create_table(
        "practice_answers",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created(),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("pair_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(), nullable=False),
        sa.Column("left_is", sa.String(), nullable=False),
        sa.Column("said", sa.String(), nullable=False),
        sa.Column("right", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "choice IN ('left', 'right', 'tie', 'both_bad')",
            name=op.f("ck_practice_answers_choice"),
        ),
        sa.CheckConstraint("left_is IN ('a', 'b')", name=op.f("ck_practice_answers_left_is")),
        _to("practice_answers", "person_id", "people"),
        _to("practice_answers", "pair_id", "practice_pairs"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice_answers")),
        sa.UniqueConstraint(
            "person_id",
            "pair_id",
            "attempt",
            name=op.f("uq_practice_answers_person_id_pair_id_attempt"),
        ),
    )
    op.create_table(
        "practice_results",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("right", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        _to("practice_results", "project_id", "projects"),
        _to("practice_results", "person_id", "people"),
        sa.PrimaryKeyConstraint(
            "project_id", "person_id", "attempt", name=op.f("pk_practice_results")
        ),
    )
    op.add_column("projects", sa.Column("practice_pass", sa.Float(), nullable=True))
    op.create_check_constraint(
        op.f("ck_projects_practice_pass"), "projects", "practice_pass BETWEEN 0 AND 1"
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_constraint(op.f("ck_projects_practice_pass"), "projects")
    op.drop_column("projects", "practice_pass")
    op.drop_table("practice_results")
    op.drop_table("practice_answers")
    op.drop_table("practice_pairs")
