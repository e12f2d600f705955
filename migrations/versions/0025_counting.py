"""Indexes that answer counts by themselves, and none for rows that they never find."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    for name, table in _CHANGED:
        op.drop_index(name, table_name=table)
    op.create_index(
        "ix_prompts_sampling",
        "prompts",
        ["project_id", "split", "times_used"],
        postgresql_where=sa.text("NOT gold"),
    )
    op.create_index(
        "ix_pairs_pool",
        "pairs",
        ["project_id"],
        postgresql_where=sa.text("state = 'pool' AND round_id IS NULL"),
    )
    op.create_index(
        "ix_pairs_round",
        "pairs",
        ["round_id", "state", "rank"],
        postgresql_where=sa.text("round_id IS NOT NULL"),
    )
    op.create_index("ix_pairs_states", "pairs", ["project_id", "state"])
    op.create_index(
        "ix_preferences_counted",
        "preferences",
        ["project_id"],
        postgresql_include=["choice", "gold", "person_id"],
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_preferences_counted", table_name="preferences")
    op.drop_index("ix_pairs_states", table_name="pairs")
    for name, table in _CHANGED:
        op.drop_index(name, table_name=table)
    op.create_index("ix_prompts_sampling", "prompts", ["project_id", "split", "times_used"])
    op.create_index(
        "ix_pairs_pool", "pairs", ["project_id"], postgresql_where=sa.text("state = 'pool'")
    )
    op.create_index("ix_pairs_round", "pairs", ["round_id", "state", "rank"])


_CHANGED = (
    ("ix_prompts_sampling", "prompts"),
    ("ix_pairs_pool", "pairs"),
    ("ix_pairs_round", "pairs"),
)
