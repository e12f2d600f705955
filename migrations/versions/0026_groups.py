"""Groups, their people and their roles in projects; an oracle that was taken out stays one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def _created() -> sa.Column[object]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _to(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    """Apply this revision."""
    op.add_column("memberships", sa.Column("left_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "groups",
        sa.Column("id", sa.Uuid(), nullable=False),
        _created(),
        sa.Column("name", sa.String(), nullable=False),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 100", name=op.f("ck_groups_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_groups_name")),
    )
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        _created(),
        _to("group_members", "group_id", "groups"),
        _to("group_members", "person_id", "people"),
        sa.PrimaryKeyConstraint("group_id", "person_id", name=op.f("pk_group_members")),
    )
    op.create_index("ix_group_members_person_id", "group_members", ["person_id"])
    op.create_table(
        "group_roles",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        _created(),
        sa.CheckConstraint(
            "role IN ('admin', 'reviewer', 'annotator')", name=op.f("ck_group_roles_role")
        ),
        _to("group_roles", "project_id", "projects"),
        _to("group_roles", "group_id", "groups"),
        sa.PrimaryKeyConstraint("project_id", "group_id", name=op.f("pk_group_roles")),
    )
    op.create_index("ix_group_roles_group_id", "group_roles", ["group_id"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("group_roles")
    op.drop_table("group_members")
    op.drop_table("groups")
    op.execute("DELETE FROM memberships WHERE left_at IS NOT NULL")
    op.drop_column("memberships", "left_at")
