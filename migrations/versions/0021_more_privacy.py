"""A flagged pair withholds its prompt's pairs; since when an account is not active."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("withheld", sa.Column("prompt_id", sa.Uuid(), nullable=True))
    op.execute(
        "UPDATE withheld SET prompt_id = pairs.prompt_id FROM pairs "
        "WHERE pairs.id = withheld.pair_id"
    )
    op.alter_column("withheld", "prompt_id", nullable=False)
    op.create_foreign_key(
        op.f("fk_withheld_prompt_id_prompts"),
        "withheld",
        "prompts",
        ["prompt_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_withheld_prompt",
        "withheld",
        ["prompt_id"],
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.add_column("people", sa.Column("deactivated_at", sa.DateTime(timezone=True), nullable=True))
    # nobody wrote down when: the time that a rule allows begins with it
    op.execute("UPDATE people SET deactivated_at = now() WHERE NOT active AND deleted_at IS NULL")


def downgrade() -> None:
    """Take it back."""
    op.drop_column("people", "deactivated_at")
    op.drop_index("ix_withheld_prompt", "withheld")
    op.drop_column("withheld", "prompt_id")
