"""Invitations by link, who came by them, and whose address nobody has proven."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def _created() -> sa.Column[object]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _to(table: str, column: str, other: str, ondelete: str = "CASCADE") -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)


def upgrade() -> None:
    """Apply this revision."""
    op.add_column(
        "people",
        sa.Column("email_proven", sa.Boolean(), server_default=sa.text("true"), nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created(),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=True),
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("uses", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("uses_allowed", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("uses BETWEEN 0 AND uses_allowed", name=op.f("ck_invitations_uses")),
        sa.CheckConstraint(
            "uses_allowed BETWEEN 1 AND 1000", name=op.f("ck_invitations_uses_allowed")
        ),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'reviewer', 'annotator', 'oracle')"
            " AND project_id IS NOT NULL OR role IN ('admin', 'member') AND project_id IS NULL",
            name=op.f("ck_invitations_role"),
        ),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_invitations_email_lower")),
        _to("invitations", "project_id", "projects"),
        _to("invitations", "created_by", "people", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_index("ix_invitations_project_id", "invitations", ["project_id", "id"])
    op.create_table(
        "invitation_uses",
        sa.Column("invitation_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        _created(),
        _to("invitation_uses", "invitation_id", "invitations"),
        _to("invitation_uses", "person_id", "people"),
        sa.PrimaryKeyConstraint("invitation_id", "person_id", name=op.f("pk_invitation_uses")),
    )
    op.create_index("ix_invitation_uses_person_id", "invitation_uses", ["person_id"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("invitation_uses")
    op.drop_table("invitations")
    op.drop_column("people", "email_proven")
