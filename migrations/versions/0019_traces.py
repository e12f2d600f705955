"""The trace that a round was opened in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("rounds", sa.Column("traceparent", sa.String(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("rounds", "traceparent")
