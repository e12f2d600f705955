"""Features of pairs, for strategies that look at hidden states or gradients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("pairs", sa.Column("features", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Undo this revision."""
    op.drop_column("pairs", "features")
