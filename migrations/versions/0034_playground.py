"""The playground: trials, which workers answer and nobody keeps, and pairs that somebody wants asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

KINDS = "'generate', 'train', 'evaluate', 'compare'"
OWNERS = "round_id, evaluation_id"


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "trials",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("prompt", JSONB(), nullable=False),
        sa.Column("policy_a_id", sa.Uuid(), nullable=False),
        sa.Column("policy_b_id", sa.Uuid(), nullable=False),
        sa.Column("generation", JSONB(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("completion_a", sa.String(), nullable=True),
        sa.Column("completion_b", sa.String(), nullable=True),
        sa.Column("finished_a", sa.Boolean(), nullable=True),
        sa.Column("finished_b", sa.Boolean(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("pair_id", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'failed', 'cancelled')", name=op.f("ck_trials_state")
        ),
        sa.CheckConstraint(
            "state <> 'done' OR (completion_a IS NOT NULL AND completion_b IS NOT NULL)",
            name=op.f("ck_trials_done"),
        ),
        sa.CheckConstraint("pair_id IS NULL OR state = 'done'", name=op.f("ck_trials_kept")),
        _key("project_id", "projects", "CASCADE"),
        _key("person_id", "people", "CASCADE"),
        _key("policy_a_id", "policies", "CASCADE"),
        _key("policy_b_id", "policies", "CASCADE"),
        _key("pair_id", "pairs", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
    )
    for column in ("expires_at", "project_id", "person_id"):
        op.create_index(f"ix_trials_{column}", "trials", [column])
    op.add_column("runs", sa.Column("trial_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_runs_trial_id_trials"), "runs", "trials", ["trial_id"], ["id"], ondelete="CASCADE"
    )
    op.create_unique_constraint(op.f("uq_runs_trial_id"), "runs", ["trial_id"])
    _check("kind", f"kind IN ({KINDS}, 'try')")
    _check("one_owner", f"num_nonnulls({OWNERS}, trial_id) = 1")
    op.create_check_constraint(
        op.f("ck_runs_try"), "runs", "(kind = 'try') = (trial_id IS NOT NULL)"
    )
    op.add_column(
        "pairs",
        sa.Column("wanted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )


def _key(column: str, other: str, ondelete: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_trials_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)


def _check(name: str, condition: str) -> None:
    op.drop_constraint(op.f(f"ck_runs_{name}"), "runs")
    op.create_check_constraint(op.f(f"ck_runs_{name}"), "runs", condition)


def downgrade() -> None:
    """Take it back; trials go."""
    op.execute("DELETE FROM runs WHERE kind = 'try'")
    op.drop_column("pairs", "wanted")
    op.drop_constraint(op.f("ck_runs_try"), "runs")
    _check("one_owner", f"num_nonnulls({OWNERS}) = 1")
    _check("kind", f"kind IN ({KINDS})")
    op.drop_constraint(op.f("uq_runs_trial_id"), "runs")
    op.drop_column("runs", "trial_id")
    op.drop_table("trials")
