"""Projects are deleted; what refers to a row of theirs is found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

# Deleting a row asks every table that refers to it: without these, each would be read as a whole
INDEXES = (
    ("preferences", "claim_id"),
    ("preferences", "pair_id"),
    ("claims", "pair_id"),
    ("pairs", "prompt_id"),
)


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("projects", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    for table, column in INDEXES:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    """Take it back."""
    for table, column in INDEXES:
        op.drop_index(op.f(f"ix_{table}_{column}"), table)
    op.drop_column("projects", "deleted_at")
