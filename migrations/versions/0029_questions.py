"""Questions beside the choice, and what is said in answer to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "projects",
        sa.Column("questions", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
    )
    op.add_column("preferences", sa.Column("answers", JSONB(), nullable=True))
    op.add_column("preference_versions", sa.Column("answers", JSONB(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("preference_versions", "answers")
    op.drop_column("preferences", "answers")
    op.drop_column("projects", "questions")
