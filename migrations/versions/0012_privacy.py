"""Pairs whose text is withheld, and people who were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "withheld",
        sa.Column("pair_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("flagged_by", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["pairs.id"], name=op.f("fk_withheld_pair_id_pairs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_withheld_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["flagged_by"],
            ["people.id"],
            name=op.f("fk_withheld_flagged_by_people"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["cleared_by"],
            ["people.id"],
            name=op.f("fk_withheld_cleared_by_people"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_withheld")),
    )
    op.create_index(
        "ix_withheld_open",
        "withheld",
        ["project_id"],
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.add_column("people", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("CREATE SEQUENCE deleted_people")
    # A reason that somebody wrote about a person goes with the person
    _append_only("AND NEW.data IN (OLD.data, OLD.data - 'reason')", "- 'person_id' - 'data'")


def downgrade() -> None:
    """Take it back."""
    _append_only("AND NEW.person_id IS NULL", "- 'person_id'")
    op.execute("DROP SEQUENCE deleted_people")
    op.drop_column("people", "deleted_at")
    op.drop_table("withheld")


def _append_only(more: str, but: str) -> None:
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.person_id IS NULL OR NEW.person_id = OLD.person_id)
               AND (to_jsonb(NEW) {but}) = (to_jsonb(OLD) {but}) {more}
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'events are append-only';
        END $$
        """
    )
