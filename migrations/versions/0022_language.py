"""The language in which a person reads the pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("people", sa.Column("language", sa.String(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("people", "language")
