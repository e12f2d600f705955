"""Blind evaluations: their pairs, claims and answers are of no round, and no labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

STATES = "'pool', 'open', 'answered', 'dropped', 'unused', 'equal', 'gold'"
KINDS = "'generate', 'train', 'evaluate'"
RECORDED = "recorded OR (round_id IS NOT NULL AND claim_id IS NOT NULL)"
RECORDED_NOW = "recorded OR (num_nonnulls(round_id, evaluation_id) = 1 AND claim_id IS NOT NULL)"


def upgrade() -> None:
    """Apply this revision."""
    _outputs()
    _evaluations()
    off = sa.text("false")
    op.add_column(
        "projects", sa.Column("has_evaluation", sa.Boolean(), server_default=off, nullable=False)
    )
    for table in ("pairs", "claims", "preferences", "runs"):
        op.add_column(table, sa.Column("evaluation_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_evaluation_id_evaluations"),
            table,
            "evaluations",
            ["evaluation_id"],
            ["id"],
            ondelete="CASCADE",
        )
    op.add_column("pairs", sa.Column("swapped", sa.Boolean(), server_default=off, nullable=False))
    _checks()
    given = sa.text("evaluation_id IS NOT NULL")
    op.create_index(
        "uq_pairs_evaluation_prompt",
        "pairs",
        ["evaluation_id", "prompt_id"],
        unique=True,
        postgresql_where=given,
    )
    op.create_index("ix_claims_evaluation", "claims", ["evaluation_id"], postgresql_where=given)
    op.create_index(
        "ix_preferences_evaluation",
        "preferences",
        ["evaluation_id", "pair_id"],
        postgresql_where=given,
    )
    _counted("choice", "gold", "person_id", "evaluation_id")
    op.create_unique_constraint(
        op.f("uq_runs_evaluation_id_shard"), "runs", ["evaluation_id", "shard"]
    )
    _triggers()


def _counted(*included: str) -> None:
    """What counts of labels read of the index, which label they are among it."""
    op.drop_index("ix_preferences_counted", "preferences")
    op.create_index(
        "ix_preferences_counted",
        "preferences",
        ["project_id"],
        postgresql_include=list(included),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _outputs() -> None:
    op.create_table(
        "outputs",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("ck_outputs_name")),
        _key("outputs", "project_id", "projects", "CASCADE"),
        _key("outputs", "created_by", "people", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outputs")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_outputs_project_id_name")),
    )
    op.create_table(
        "output_completions",
        sa.Column("outputs_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("completion", sa.String(), nullable=False),
        _key("output_completions", "outputs_id", "outputs", "CASCADE"),
        _key("output_completions", "prompt_id", "prompts", "CASCADE"),
        sa.PrimaryKeyConstraint("outputs_id", "prompt_id", name=op.f("pk_output_completions")),
    )
    op.create_index("ix_output_completions_prompt_id", "output_completions", ["prompt_id"])


def _evaluations() -> None:
    from sqlalchemy.dialects.postgresql import JSONB

    op.create_table(
        "evaluations",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("policy_a_id", sa.Uuid(), nullable=True),
        sa.Column("outputs_a_id", sa.Uuid(), nullable=True),
        sa.Column("policy_b_id", sa.Uuid(), nullable=True),
        sa.Column("outputs_b_id", sa.Uuid(), nullable=True),
        sa.Column("prompts", sa.String(), nullable=False),
        sa.Column("sample", sa.Integer(), nullable=True),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("answered_by", sa.String(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("stop_early", sa.Boolean(), nullable=False),
        sa.Column("generation", JSONB(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("better", sa.String(), nullable=True),
        sa.Column("progress_done", sa.Integer(), nullable=False),
        sa.Column("progress_total", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        _created_at(),
        sa.CheckConstraint(
            "state IN ('generating', 'open', 'decided', 'closed', 'failed', 'cancelled')",
            name=op.f("ck_evaluations_state"),
        ),
        sa.CheckConstraint(
            "(state = 'decided') = (better IS NOT NULL)", name=op.f("ck_evaluations_decided")
        ),
        sa.CheckConstraint("better IN ('a', 'b')", name=op.f("ck_evaluations_better")),
        sa.CheckConstraint(
            "num_nonnulls(policy_a_id, outputs_a_id) = 1", name=op.f("ck_evaluations_side_a")
        ),
        sa.CheckConstraint(
            "num_nonnulls(policy_b_id, outputs_b_id) = 1", name=op.f("ck_evaluations_side_b")
        ),
        sa.CheckConstraint(
            "policy_a_id <> policy_b_id AND outputs_a_id <> outputs_b_id",
            name=op.f("ck_evaluations_two_sides"),
        ),
        sa.CheckConstraint(
            "answered_by IN ('people', 'oracle', 'anybody')",
            name=op.f("ck_evaluations_answered_by"),
        ),
        sa.CheckConstraint("overlap BETWEEN 1 AND 100", name=op.f("ck_evaluations_overlap")),
        sa.CheckConstraint("alpha > 0 AND alpha < 0.5", name=op.f("ck_evaluations_alpha")),
        _key("evaluations", "project_id", "projects", "CASCADE"),
        _key("evaluations", "policy_a_id", "policies"),
        _key("evaluations", "policy_b_id", "policies"),
        _key("evaluations", "outputs_a_id", "outputs"),
        _key("evaluations", "outputs_b_id", "outputs"),
        _key("evaluations", "created_by", "people", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_evaluations_project_id_number")),
    )
    op.create_index(
        "ix_evaluations_open",
        "evaluations",
        ["project_id"],
        postgresql_where=sa.text("state = 'open'"),
    )


def _created_at() -> sa.Column[object]:
    now = sa.text("now()")
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False)


def _key(
    table: str, column: str, other: str, ondelete: str | None = None
) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)


def _checks() -> None:
    _check("pairs", "state", f"state IN ({STATES}, 'evaluation')", instead=True)
    _check("pairs", "evaluation", "(state = 'evaluation') = (evaluation_id IS NOT NULL)")
    _check("pairs", "one_owner", "round_id IS NULL OR evaluation_id IS NULL")
    op.alter_column("claims", "round_id", nullable=True)
    _check("claims", "one_owner", "num_nonnulls(round_id, evaluation_id) = 1")
    _check("preferences", "recorded", RECORDED_NOW, instead=True)
    _check(
        "preferences",
        "evaluation",
        "evaluation_id IS NULL OR NOT (gold OR review OR recorded OR round_id IS NOT NULL"
        " OR frozen_in IS NOT NULL)",
    )
    op.alter_column("runs", "round_id", nullable=True)
    _check("runs", "kind", f"kind IN ({KINDS}, 'compare')", instead=True)
    _check("runs", "one_owner", "num_nonnulls(round_id, evaluation_id) = 1")
    _check("runs", "compare", "(kind = 'compare') = (evaluation_id IS NOT NULL)")


def _check(table: str, name: str, condition: str, *, instead: bool = False) -> None:
    if instead:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def _triggers() -> None:
    # one look a statement, however many labels a round fixes
    op.execute(
        """
        CREATE FUNCTION training_labels_are_labels() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT 1 FROM fixed JOIN preferences p ON p.id = fixed.preference_id
                WHERE p.evaluation_id IS NOT NULL OR p.gold)
            THEN
                RAISE EXCEPTION 'what is said of gold pairs and in evaluations is never trained on'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER labels_only AFTER INSERT ON training_labels
        REFERENCING NEW TABLE AS fixed
        FOR EACH STATEMENT EXECUTE FUNCTION training_labels_are_labels()
        """
    )
    # those of rounds cost nothing: the trigger is not even called
    op.execute(
        """
        CREATE FUNCTION evaluation_is_of_the_pair() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (
                SELECT 1 FROM pairs p
                WHERE p.id = NEW.pair_id AND p.evaluation_id = NEW.evaluation_id)
            THEN
                RAISE EXCEPTION 'the pair is not of this evaluation'
                    USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    for table in ("claims", "preferences"):
        op.execute(
            f"""
            CREATE TRIGGER one_evaluation BEFORE INSERT OR UPDATE OF pair_id, evaluation_id
            ON {table} FOR EACH ROW WHEN (NEW.evaluation_id IS NOT NULL)
            EXECUTE FUNCTION evaluation_is_of_the_pair()
            """
        )


def downgrade() -> None:
    """Take it back; evaluations and what was said in them go."""
    op.execute("DROP TRIGGER labels_only ON training_labels")
    op.execute("DROP FUNCTION training_labels_are_labels()")
    for table in ("claims", "preferences"):
        op.execute(f"DROP TRIGGER one_evaluation ON {table}")
    op.execute("DROP FUNCTION evaluation_is_of_the_pair()")
    op.execute("DELETE FROM evaluations")  # pairs, claims, answers and runs go along
    op.drop_constraint(op.f("uq_runs_evaluation_id_shard"), "runs")
    _counted("choice", "gold", "person_id")
    op.drop_index("ix_preferences_evaluation", "preferences")
    op.drop_index("ix_claims_evaluation", "claims")
    op.drop_index("uq_pairs_evaluation_prompt", "pairs")
    op.drop_constraint(op.f("ck_runs_compare"), "runs")
    op.drop_constraint(op.f("ck_runs_one_owner"), "runs")
    _check("runs", "kind", f"kind IN ({KINDS})", instead=True)
    op.alter_column("runs", "round_id", nullable=False)
    op.drop_constraint(op.f("ck_preferences_evaluation"), "preferences")
    _check("preferences", "recorded", RECORDED, instead=True)
    op.drop_constraint(op.f("ck_claims_one_owner"), "claims")
    op.alter_column("claims", "round_id", nullable=False)
    op.drop_constraint(op.f("ck_pairs_one_owner"), "pairs")
    op.drop_constraint(op.f("ck_pairs_evaluation"), "pairs")
    _check("pairs", "state", f"state IN ({STATES})", instead=True)
    op.drop_column("pairs", "swapped")
    for table in ("pairs", "claims", "preferences", "runs"):
        op.drop_column(table, "evaluation_id")
    op.drop_column("projects", "has_evaluation")
    op.drop_table("evaluations")
    op.drop_table("output_completions")
    op.drop_table("outputs")
