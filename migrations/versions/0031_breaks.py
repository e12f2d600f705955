"""Breaks that are suggested; whether annotators see figures of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "projects",
        sa.Column("break_minutes", sa.Integer(), nullable=True, server_default=sa.text("45")),
    )
    op.add_column(
        "projects",
        sa.Column("own_figures", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_column("projects", "own_figures")
    op.drop_column("projects", "break_minutes")
