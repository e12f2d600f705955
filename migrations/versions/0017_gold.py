"""Gold pairs: their answer is known, and what is said of them is no label."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATES = "'pool', 'open', 'answered', 'dropped', 'unused', 'equal'"


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "gold_pairs",
        sa.Column("pair_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("source_pair_id", sa.Uuid(), nullable=True),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("explanation", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "answer IN ('a', 'b', 'tie', 'both_bad')", name=op.f("ck_gold_pairs_answer")
        ),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["pairs.id"], name=op.f("fk_gold_pairs_pair_id_pairs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_gold_pairs_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source_pair_id"],
            ["pairs.id"],
            name=op.f("fk_gold_pairs_source_pair_id_pairs"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["people.id"],
            name=op.f("fk_gold_pairs_created_by_people"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_gold_pairs")),
    )
    op.create_index("ix_gold_pairs_project", "gold_pairs", ["project_id", "pair_id"])
    op.create_index("uq_gold_pairs_source", "gold_pairs", ["source_pair_id"], unique=True)
    off = sa.text("false")
    op.add_column(
        "preferences", sa.Column("gold", sa.Boolean(), server_default=off, nullable=False)
    )
    op.create_index(
        "ix_preferences_gold",
        "preferences",
        ["project_id", "person_id"],
        postgresql_where=sa.text("gold"),
    )
    op.add_column("prompts", sa.Column("gold", sa.Boolean(), server_default=off, nullable=False))
    op.add_column(
        "projects", sa.Column("has_gold", sa.Boolean(), server_default=off, nullable=False)
    )
    op.add_column(
        "projects",
        sa.Column("gold_share", sa.Float(), server_default=sa.text("0"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_projects_gold_share"), "projects", "gold_share BETWEEN 0 AND 0.5"
    )
    _states(f"{STATES}, 'gold'")


def downgrade() -> None:
    """Take it back; gold pairs and what was said of them go."""
    op.execute("DELETE FROM pairs WHERE state = 'gold'")
    _states(STATES)
    op.drop_constraint(op.f("ck_projects_gold_share"), "projects")
    op.drop_column("projects", "gold_share")
    op.drop_column("projects", "has_gold")
    op.drop_column("prompts", "gold")
    op.drop_index("ix_preferences_gold", "preferences")
    op.drop_column("preferences", "gold")
    op.drop_table("gold_pairs")


def _states(allowed: str) -> None:
    op.drop_constraint(op.f("ck_pairs_state"), "pairs")
    op.create_check_constraint(op.f("ck_pairs_state"), "pairs", f"state IN ({allowed})")
