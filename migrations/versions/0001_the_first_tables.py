"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this revision."""
    op.create_table(
        "people",
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("role IN ('admin', 'member')", name=op.f("ck_people_role")),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_people_email_lower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("email", name=op.f("uq_people_email")),
    )
    op.create_table(
        "projects",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("acquisition", sa.String(), nullable=False),
        sa.Column("cold_start", sa.String(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("pool_size", sa.Integer(), nullable=True),
        sa.Column("audit_fraction", sa.Double(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("overlap_share", sa.Double(), nullable=False),
        sa.Column("system_prompt", sa.String(), nullable=True),
        sa.Column("chat", sa.String(), nullable=False),
        sa.Column("guidelines", sa.String(), nullable=False),
        sa.Column("generation", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("training", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("judge", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("auto_next", sa.Boolean(), nullable=False),
        sa.Column("claim_seconds", sa.Integer(), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("chat IN ('auto', 'off')", name=op.f("ck_projects_chat")),
        sa.CheckConstraint("source IN ('generated', 'imported')", name=op.f("ck_projects_source")),
        sa.CheckConstraint(
            "audit_fraction BETWEEN 0 AND 1", name=op.f("ck_projects_audit_fraction")
        ),
        sa.CheckConstraint("batch_size BETWEEN 1 AND 100000", name=op.f("ck_projects_batch_size")),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("ck_projects_name")),
        sa.CheckConstraint("overlap >= 1", name=op.f("ck_projects_overlap")),
        sa.CheckConstraint("overlap_share BETWEEN 0 AND 1", name=op.f("ck_projects_overlap_share")),
        sa.CheckConstraint(
            "pool_size IS NULL OR pool_size >= batch_size", name=op.f("ck_projects_pool_size")
        ),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["people.id"],
            name=op.f("fk_projects_created_by_people"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["policies.id"],
            name=op.f("fk_projects_policy_id_policies"),
            ondelete="SET NULL",
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_table(
        "sign_ins",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("csrf_token", sa.String(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_sign_ins_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_ins_token_hash")),
    )
    op.create_index("ix_sign_ins_person_id", "sign_ins", ["person_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rate_limit", sa.String(), server_default=sa.text("NULL"), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "scope IN ('admin', 'annotator', 'oracle')", name=op.f("ck_api_keys_scope")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_api_keys_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_api_keys_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index("ix_api_keys_person_id", "api_keys", ["person_id"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'reviewer', 'annotator', 'oracle')",
            name=op.f("ck_memberships_role"),
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_memberships_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_memberships_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "person_id", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_person_id", "memberships", ["person_id"], unique=False)
    op.create_table(
        "prompts",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("times_used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("split IN ('train', 'eval')", name=op.f("ck_prompts_split")),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_prompts_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint(
            "project_id", "content_hash", name=op.f("uq_prompts_project_id_content_hash")
        ),
    )
    op.create_index("ix_prompts_page", "prompts", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_prompts_sampling", "prompts", ["project_id", "split", "times_used"], unique=False
    )
    op.create_table(
        "rounds",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("progress_done", sa.Integer(), nullable=False),
        sa.Column("progress_total", sa.Integer(), nullable=False),
        sa.Column("policy_in_id", sa.Uuid(), nullable=True),
        sa.Column("policy_out_id", sa.Uuid(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("failed_stage", sa.String(), nullable=True),
        sa.Column("started_by", sa.Uuid(), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'generating', 'labelling', 'training', 'evaluating', 'done', 'failed', 'cancelled')",
            name=op.f("ck_rounds_state"),
        ),
        sa.ForeignKeyConstraint(
            ["policy_in_id"],
            ["policies.id"],
            name=op.f("fk_rounds_policy_in_id_policies"),
            ondelete="SET NULL",
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["policy_out_id"],
            ["policies.id"],
            name=op.f("fk_rounds_policy_out_id_policies"),
            ondelete="SET NULL",
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_rounds_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["started_by"],
            ["people.id"],
            name=op.f("fk_rounds_started_by_people"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_rounds_project_id_number")),
    )
    op.create_index(
        "uq_rounds_one_open",
        "rounds",
        ["project_id"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('done', 'cancelled')"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_events_person_id_people"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_events_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_events_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_project_id", "events", ["project_id", "id"], unique=False)
    op.create_index("ix_events_round_id", "events", ["round_id", "id"], unique=False)
    op.create_table(
        "policies",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.String(), nullable=True),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.Integer(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("(kind = 'base') = (path IS NULL)", name=op.f("ck_policies_path")),
        sa.CheckConstraint("kind IN ('base', 'adapter', 'full')", name=op.f("ck_policies_kind")),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["policies.id"],
            name=op.f("fk_policies_parent_id_policies"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_policies_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["rounds.id"],
            name=op.f("fk_policies_round_id_rounds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_policies_project_id_number")),
        sa.UniqueConstraint("round_id", name=op.f("uq_policies_round_id")),
    )
    op.create_table(
        "runs",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("stuck", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("checkpoint_uri", sa.String(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("input", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('generate', 'train', 'evaluate')", name=op.f("ck_runs_kind")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')",
            name=op.f("ck_runs_state"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_runs_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_runs_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint(
            "project_id",
            "round_id",
            "kind",
            "shard",
            name=op.f("uq_runs_project_id_round_id_kind_shard"),
        ),
    )
    op.create_index(
        "ix_runs_held",
        "runs",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_runs_round_id", "runs", ["round_id"], unique=False)
    op.create_index(
        "ix_runs_waiting",
        "runs",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "pairs",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("content_hash", sa.String(), nullable=True),
        sa.Column("completion_a", sa.String(), nullable=False),
        sa.Column("completion_b", sa.String(), nullable=False),
        sa.Column("tokens_prompt", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("tokens_a", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("tokens_b", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("finished_a", sa.Boolean(), nullable=False),
        sa.Column("finished_b", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("audit_rank", sa.Integer(), nullable=True),
        sa.Column("audit", sa.Boolean(), nullable=False),
        sa.Column("logp_a", sa.Double(), nullable=True),
        sa.Column("logp_b", sa.Double(), nullable=True),
        sa.Column("ref_logp_a", sa.Double(), nullable=True),
        sa.Column("ref_logp_b", sa.Double(), nullable=True),
        sa.Column("margin", sa.Double(), nullable=True),
        sa.Column("entropy", sa.Double(), nullable=True),
        sa.Column("scored_by", sa.Uuid(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('pool', 'open', 'answered', 'dropped', 'unused', 'equal')",
            name=op.f("ck_pairs_state"),
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["policies.id"],
            name=op.f("fk_pairs_policy_id_policies"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_pairs_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"],
            ["prompts.id"],
            name=op.f("fk_pairs_prompt_id_prompts"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_pairs_round_id_rounds"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["scored_by"],
            ["policies.id"],
            name=op.f("fk_pairs_scored_by_policies"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pairs")),
        sa.UniqueConstraint(
            "project_id", "content_hash", name=op.f("uq_pairs_project_id_content_hash")
        ),
    )
    op.create_index(
        "ix_pairs_open",
        "pairs",
        ["round_id", "rank"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_pairs_page", "pairs", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_pairs_pool",
        "pairs",
        ["project_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pool'"),
    )
    op.create_index("ix_pairs_round", "pairs", ["round_id", "state", "rank"], unique=False)
    op.create_table(
        "claims",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("pair_id", sa.Uuid(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("left_is", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("left_is IN ('a', 'b')", name=op.f("ck_claims_left_is")),
        sa.CheckConstraint(
            "state IN ('live', 'answered', 'skipped', 'released', 'expired')",
            name=op.f("ck_claims_state"),
        ),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["pairs.id"], name=op.f("fk_claims_pair_id_pairs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_claims_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_claims_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["rounds.id"], name=op.f("fk_claims_round_id_rounds"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
    )
    op.create_index(
        "ix_claims_expiry",
        "claims",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_index(
        "ix_claims_holder",
        "claims",
        ["person_id"],
        unique=False,
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_index("ix_claims_round", "claims", ["round_id", "state"], unique=False)
    op.create_index(
        "uq_claims_person",
        "claims",
        ["pair_id", "person_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('live', 'answered', 'skipped')"),
    )
    op.create_index(
        "uq_claims_slot",
        "claims",
        ["pair_id", "slot"],
        unique=True,
        postgresql_where=sa.text("state IN ('live', 'answered')"),
    )
    op.create_table(
        "preferences",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("pair_id", sa.Uuid(), nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("choice", sa.String(), nullable=False),
        sa.Column("chosen", sa.String(), nullable=True),
        sa.Column("left_is", sa.String(), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("rationale", sa.String(), nullable=True),
        sa.Column("p_left", sa.Double(), nullable=True),
        sa.Column("judge", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("frozen_in", sa.Uuid(), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(choice = 'left' AND chosen = left_is) OR (choice = 'right' AND chosen IS NOT NULL AND chosen <> left_is) OR (choice IN ('tie', 'both_bad', 'skip') AND chosen IS NULL)",
            name=op.f("ck_preferences_chosen"),
        ),
        sa.CheckConstraint(
            "choice IN ('left', 'right', 'tie', 'both_bad', 'skip')",
            name=op.f("ck_preferences_choice"),
        ),
        sa.CheckConstraint("left_is IN ('a', 'b')", name=op.f("ck_preferences_left_is")),
        sa.CheckConstraint("p_left BETWEEN 0 AND 1", name=op.f("ck_preferences_p_left")),
        sa.CheckConstraint("strength BETWEEN 1 AND 3", name=op.f("ck_preferences_strength")),
        sa.ForeignKeyConstraint(
            ["claim_id"],
            ["claims.id"],
            name=op.f("fk_preferences_claim_id_claims"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["frozen_in"],
            ["rounds.id"],
            name=op.f("fk_preferences_frozen_in_rounds"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["pair_id"], ["pairs.id"], name=op.f("fk_preferences_pair_id_pairs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_preferences_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_preferences_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["rounds.id"],
            name=op.f("fk_preferences_round_id_rounds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preferences")),
    )
    op.create_index("ix_preferences_page", "preferences", ["project_id", "id"], unique=False)
    op.create_index("ix_preferences_round", "preferences", ["round_id"], unique=False)
    op.create_index(
        "ix_preferences_unfrozen",
        "preferences",
        ["project_id"],
        unique=False,
        postgresql_where=sa.text("frozen_in IS NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "uq_preferences_claim",
        "preferences",
        ["claim_id"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "uq_preferences_pair_person",
        "preferences",
        ["pair_id", "person_id"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "preference_versions",
        sa.Column("preference_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("choice", sa.String(), nullable=True),
        sa.Column("chosen", sa.String(), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("rationale", sa.String(), nullable=True),
        sa.Column("p_left", sa.Double(), nullable=True),
        sa.Column("judge", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["preference_id"],
            ["preferences.id"],
            name=op.f("fk_preference_versions_preference_id_preferences"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("preference_id", "version", name=op.f("pk_preference_versions")),
    )
    op.create_table(
        "training_labels",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("preference_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["preference_id"],
            ["preferences.id"],
            name=op.f("fk_training_labels_preference_id_preferences"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["rounds.id"],
            name=op.f("fk_training_labels_round_id_rounds"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("round_id", "preference_id", name=op.f("pk_training_labels")),
    )
    # projects, rounds and policies name each other: these come last
    op.create_foreign_key(
        "fk_projects_policy_id_policies",
        "projects",
        "policies",
        ["policy_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_foreign_key(
        "fk_rounds_policy_in_id_policies",
        "rounds",
        "policies",
        ["policy_in_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_foreign_key(
        "fk_rounds_policy_out_id_policies",
        "rounds",
        "policies",
        ["policy_out_id"],
        ["id"],
        ondelete="SET NULL",
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_constraint("fk_projects_policy_id_policies", "projects", type_="foreignkey")
    op.drop_constraint("fk_rounds_policy_in_id_policies", "rounds", type_="foreignkey")
    op.drop_constraint("fk_rounds_policy_out_id_policies", "rounds", type_="foreignkey")
    op.drop_table("training_labels")
    op.drop_table("preference_versions")
    op.drop_index(
        "uq_preferences_pair_person",
        table_name="preferences",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(
        "uq_preferences_claim",
        table_name="preferences",
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(
        "ix_preferences_unfrozen",
        table_name="preferences",
        postgresql_where=sa.text("frozen_in IS NULL AND deleted_at IS NULL"),
    )
    op.drop_index("ix_preferences_round", table_name="preferences")
    op.drop_index("ix_preferences_page", table_name="preferences")
    op.drop_table("preferences")
    op.drop_index(
        "uq_claims_slot",
        table_name="claims",
        postgresql_where=sa.text("state IN ('live', 'answered')"),
    )
    op.drop_index(
        "uq_claims_person",
        table_name="claims",
        postgresql_where=sa.text("state IN ('live', 'answered', 'skipped')"),
    )
    op.drop_index("ix_claims_round", table_name="claims")
    op.drop_index(
        "ix_claims_holder", table_name="claims", postgresql_where=sa.text("state = 'live'")
    )
    op.drop_index(
        "ix_claims_expiry", table_name="claims", postgresql_where=sa.text("state = 'live'")
    )
    op.drop_table("claims")
    op.drop_index("ix_pairs_round", table_name="pairs")
    op.drop_index("ix_pairs_pool", table_name="pairs", postgresql_where=sa.text("state = 'pool'"))
    op.drop_index("ix_pairs_page", table_name="pairs")
    op.drop_index("ix_pairs_open", table_name="pairs", postgresql_where=sa.text("state = 'open'"))
    op.drop_table("pairs")
    op.drop_index(
        "ix_runs_waiting", table_name="runs", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index("ix_runs_round_id", table_name="runs")
    op.drop_index("ix_runs_held", table_name="runs", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("runs")
    op.drop_table("policies")
    op.drop_index("ix_events_round_id", table_name="events")
    op.drop_index("ix_events_project_id", table_name="events")
    op.drop_table("events")
    op.drop_index(
        "uq_rounds_one_open",
        table_name="rounds",
        postgresql_where=sa.text("state NOT IN ('done', 'cancelled')"),
    )
    op.drop_table("rounds")
    op.drop_index("ix_prompts_sampling", table_name="prompts")
    op.drop_index("ix_prompts_page", table_name="prompts")
    op.drop_table("prompts")
    op.drop_index("ix_memberships_person_id", table_name="memberships")
    op.drop_table("memberships")
    op.drop_index("ix_api_keys_person_id", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index("ix_sign_ins_person_id", table_name="sign_ins")
    op.drop_table("sign_ins")
    op.drop_table("projects")
    op.drop_table("people")
