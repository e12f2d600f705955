"""Indexes for the way of a pair and for what waits for a reviewer; a large project's figures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_index("ix_training_labels_preference_id", "training_labels", ["preference_id"])
    op.create_index(
        "ix_pairs_review",
        "pairs",
        ["round_id"],
        postgresql_where=sa.text("review AND state = 'open'"),
    )
    op.create_table(
        "snapshots",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column(
            "taken_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_snapshots_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_snapshots")),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("snapshots")
    op.drop_index("ix_pairs_review", "pairs")
    op.drop_index("ix_training_labels_preference_id", "training_labels")
