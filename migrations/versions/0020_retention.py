"""Policies that are pinned, and those whose files the rule of retention let go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "policies",
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    moment = sa.DateTime(timezone=True)
    op.add_column("policies", sa.Column("removed_at", moment, nullable=True))
    op.add_column("policies", sa.Column("reclaimed_at", moment, nullable=True))
    op.create_check_constraint(
        op.f("ck_policies_removed"),
        "policies",
        "removed_at IS NULL OR NOT (pinned OR kind = 'base')",
    )
    op.create_check_constraint(
        op.f("ck_policies_reclaimed"), "policies", "reclaimed_at IS NULL OR removed_at IS NOT NULL"
    )
    op.create_index(
        "ix_policies_to_reclaim",
        "policies",
        ["removed_at"],
        postgresql_where=sa.text("removed_at IS NOT NULL AND reclaimed_at IS NULL"),
    )
    op.add_column("projects", sa.Column("keep_policies", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("projects", "keep_policies")
    op.drop_index("ix_policies_to_reclaim", "policies")
    op.drop_constraint(op.f("ck_policies_reclaimed"), "policies")
    op.drop_constraint(op.f("ck_policies_removed"), "policies")
    for name in ("reclaimed_at", "removed_at", "pinned"):
        op.drop_column("policies", name)
