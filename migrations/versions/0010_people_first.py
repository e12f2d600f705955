"""Oracles that fill what people have left after a time; settings that came with it."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MODES = "'alone', 'first', 'with_people'"


def upgrade() -> None:
    """Apply this revision."""
    _modes(f"{MODES}, 'people_first'")
    # With the defaults written down, the same settings put again are still the same oracle
    op.execute(
        """UPDATE oracles SET settings =
        '{"fill_after": 3600.0, "audit_to_people": false}'::jsonb || settings"""
    )
    op.execute(
        """UPDATE oracles SET settings = '{"logprobs": false}'::jsonb || settings
        WHERE kind = 'openai'"""
    )


def downgrade() -> None:
    """Take it back."""
    op.execute("UPDATE oracles SET mode = 'first' WHERE mode = 'people_first'")
    op.execute("UPDATE oracles SET settings = settings - 'fill_after' - 'audit_to_people'")
    op.execute("UPDATE oracles SET settings = settings - 'logprobs' WHERE kind = 'openai'")
    _modes(MODES)


def _modes(allowed: str) -> None:
    op.execute("ALTER TABLE oracles DROP CONSTRAINT ck_oracles_mode")
    op.execute(f"ALTER TABLE oracles ADD CONSTRAINT ck_oracles_mode CHECK (mode IN ({allowed}))")
