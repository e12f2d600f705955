"""Events are append-only: what is written there is changed by nobody."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    # Deleting a person takes the name out of their events, and a project takes its events along
    op.execute(
        """
        CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.person_id IS NULL AND (to_jsonb(NEW) - 'person_id') = (to_jsonb(OLD) - 'person_id')
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'events are append-only';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER append_only BEFORE UPDATE ON events
        FOR EACH ROW EXECUTE FUNCTION events_are_append_only()
        """
    )


def downgrade() -> None:
    """Take it back."""
    op.execute("DROP TRIGGER append_only ON events")
    op.execute("DROP FUNCTION events_are_append_only()")
