"""Quotas per person and a pause."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("projects", sa.Column("quota", sa.Integer(), nullable=True))
    op.add_column("projects", sa.Column("quota_per_round", sa.Integer(), nullable=True))
    op.add_column(
        "projects", sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        "ix_claims_quota",
        "claims",
        ["project_id", "person_id"],
        postgresql_where=sa.text("state IN ('live', 'answered')"),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_claims_quota", "claims")
    op.drop_column("projects", "paused")
    op.drop_column("projects", "quota_per_round")
    op.drop_column("projects", "quota")
