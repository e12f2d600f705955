"""Oracles that label by themselves, verdicts kept, webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = postgresql.JSONB(astext_type=sa.Text())


def _identified(*columns: sa.schema.SchemaItem) -> list[sa.schema.SchemaItem]:
    return [
        *columns,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
    ]


def _key(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{to}")
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "oracles",
        *_identified(
            sa.Column("project_id", sa.Uuid(), nullable=False),
            sa.Column("person_id", sa.Uuid(), nullable=False),
            sa.Column("kind", sa.String(), nullable=False),
            sa.Column("mode", sa.String(), nullable=False),
            sa.Column("settings", JSON, nullable=False),
            sa.Column("secret", sa.String(), nullable=True),
            sa.Column("state", sa.String(), nullable=False),
            sa.Column("error", sa.String(), nullable=True),
            sa.Column("failures", sa.Integer(), nullable=False),
            sa.Column("next_try_at", TIME, nullable=True),
            sa.Column("lease_owner", sa.String(), nullable=True),
            sa.Column("lease_expires_at", TIME, nullable=True),
            sa.Column("attempt", sa.Integer(), nullable=False),
            sa.Column("spent", JSON, nullable=False),
            sa.Column("detached_at", TIME, nullable=True),
        ),
        sa.CheckConstraint(
            "mode IN ('alone', 'first', 'with_people')", name=op.f("ck_oracles_mode")
        ),
        sa.CheckConstraint(
            "state IN ('active', 'waiting', 'stopped', 'detached')", name=op.f("ck_oracles_state")
        ),
        _key("oracles", "project_id", "projects"),
        _key("oracles", "person_id", "people"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oracles")),
    )
    op.create_index("ix_oracles_person_id", "oracles", ["person_id"])
    op.create_index(
        "uq_oracles_attached",
        "oracles",
        ["project_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'detached'"),
    )
    op.create_table(
        "verdicts",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("reply", JSON, nullable=False),
        _key("verdicts", "project_id", "projects"),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_verdicts")),
    )
    op.create_table(
        "webhooks",
        *_identified(
            sa.Column("project_id", sa.Uuid(), nullable=False),
            sa.Column("url", sa.String(), nullable=False),
            sa.Column("events", JSON, nullable=False),
            sa.Column("secret", sa.String(), nullable=False),
            sa.Column("active", sa.Boolean(), nullable=False),
        ),
        _key("webhooks", "project_id", "projects"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_project_id", "webhooks", ["project_id"])
    op.create_table(
        "deliveries",
        *_identified(
            sa.Column("webhook_id", sa.Uuid(), nullable=False),
            sa.Column("kind", sa.String(), nullable=False),
            sa.Column("payload", JSON, nullable=False),
            sa.Column("state", sa.String(), nullable=False),
            sa.Column("attempts", sa.Integer(), nullable=False),
            sa.Column("next_at", TIME, server_default=sa.text("now()"), nullable=False),
            sa.Column("status", sa.Integer(), nullable=True),
            sa.Column("error", sa.String(), nullable=True),
            sa.Column("delivered_at", TIME, nullable=True),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')", name=op.f("ck_deliveries_state")
        ),
        _key("deliveries", "webhook_id", "webhooks"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_page", "deliveries", ["webhook_id", "id"])


def downgrade() -> None:
    """Take it back."""
    for table in ("deliveries", "webhooks", "verdicts", "oracles"):
        op.drop_table(table)
