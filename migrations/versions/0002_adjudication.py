"""Adjudication: a disagreement needs a reviewer's answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (("projects", "adjudicate"), ("pairs", "review"), ("preferences", "review"))


def upgrade() -> None:
    """Apply this revision."""
    for table, column in COLUMNS:
        op.add_column(
            table, sa.Column(column, sa.Boolean(), server_default=sa.false(), nullable=False)
        )


def downgrade() -> None:
    """Take it back."""
    for table, column in COLUMNS:
        op.drop_column(table, column)
