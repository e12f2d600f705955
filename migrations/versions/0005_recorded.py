"""Labels that came with imported pairs: of no claim and no round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "preferences",
        sa.Column("recorded", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.alter_column("preferences", "round_id", nullable=True)
    op.alter_column("preferences", "claim_id", nullable=True)
    op.create_check_constraint(
        "recorded", "preferences", "recorded OR (round_id IS NOT NULL AND claim_id IS NOT NULL)"
    )


def downgrade() -> None:
    """Take it back, and the recorded labels with it."""
    op.execute("DELETE FROM preferences WHERE recorded")
    op.drop_constraint("ck_preferences_recorded", "preferences", type_="check")
    op.alter_column("preferences", "round_id", nullable=False)
    op.alter_column("preferences", "claim_id", nullable=False)
    op.drop_column("preferences", "recorded")
