"""Perplexity of a pair, so that a project may leave out the tails of its pool."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("pairs", sa.Column("perplexity", sa.Float(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("pairs", "perplexity")
