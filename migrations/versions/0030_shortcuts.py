"""Keys of the labelling page, a person's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("people", sa.Column("shortcuts", JSONB(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("people", "shortcuts")
