"""What else an annotator says of a pair: flags, why it is skipped, a rationale that is wanted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    for table in ("preferences", "preference_versions"):
        op.add_column(table, sa.Column("flags", sa.ARRAY(sa.Text()), nullable=True))
        op.add_column(table, sa.Column("reason", sa.String(), nullable=True))
    op.add_column(
        "projects",
        sa.Column("require_rationale", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_column("projects", "require_rationale")
    for table in ("preferences", "preference_versions"):
        op.drop_column(table, "reason")
        op.drop_column(table, "flags")
