"""What is shown of projects and prompts, and the queries behind it."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from app.people.access import Actor
from app.people.models import held_roles
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.projects.schema import FIELDS
from app.sealed import masked_in


def settings_of(project: Project) -> dict[str, Any]:
    """The project's settings as :class:`app.projects.schema.ProjectSettings` takes them."""
    return {name: getattr(project, name) for name in FIELDS}


def project_view(project: Project) -> dict[str, Any]:
    """A project as JSON. ``pool_size`` is the effective one; null: every open pair."""
    view = settings_of(project)
    if project.source == "generated":
        view["pool_size"] = project.effective_pool_size
    view["judge"] = masked_in(view["judge"], "api_key")
    if view["generation"].get("engine"):
        engine = masked_in(view["generation"]["engine"], "api_key")
        view["generation"] = {**view["generation"], "engine": engine}
    return {
        "id": project.id,
        **{name: view[name] for name in sorted(view)},
        "policy": project.policy_id,
        "archived": project.archived,
        "created_at": project.created_at,
    }


def counts(session: Session, project_id: uuid.UUID) -> dict[str, dict[str, int]]:
    """How many prompts and pairs there are: ``{"prompts": {split: n}, "pairs": {state: n}}``."""
    splits = (
        select(Prompt.split, func.count())
        .where(Prompt.project_id == project_id, ~Prompt.gold)
        .group_by(Prompt.split)
    )
    states = (
        select(Pair.state, func.count())
        .where(Pair.project_id == project_id, Pair.state.not_in(("gold", "evaluation")))
        .group_by(Pair.state)
    )
    return {
        "prompts": {"train": 0, "eval": 0, **_by(session, splits)},
        "pairs": _by(session, states),
    }


def _by(session: Session, query: Select[str, int]) -> dict[str, int]:
    return dict(session.execute(query).all())


def visible_projects(actor: Actor) -> Select[Project]:
    """The projects that the actor may see: all for a site admin, else those one is member of."""
    query = select(Project).where(Project.deleted_at.is_(None))
    if actor.only_project is not None:
        query = query.where(Project.id == actor.only_project)
    if actor.person.role != "admin":
        held = held_roles()
        mine = select(held.c.project_id).where(held.c.person_id == actor.person.id)
        query = query.where(Project.id.in_(mine))
    return query


def prompt_view(prompt: Prompt) -> dict[str, Any]:
    """A prompt as JSON."""
    return {
        "id": prompt.id,
        "prompt": prompt.content,
        "split": prompt.split,
        "external_id": prompt.external_id,
        "times_used": prompt.times_used,
        "created_at": prompt.created_at,
    }


def prompts_of(project_id: uuid.UUID, split: str | None = None) -> Select[Prompt]:
    """A project's prompts, of one split or of both."""
    query = select(Prompt).where(Prompt.project_id == project_id)
    return query if split is None else query.where(Prompt.split == split)


def has_pairs(session: Session, project_id: uuid.UUID) -> bool:
    """Whether any pair is stored; those of evaluations say nothing about where pairs come from."""
    return _any(session, Pair.project_id == project_id, Pair.evaluation_id.is_(None))


def has_model_work(session: Session, project_id: uuid.UUID) -> bool:
    """Whether a pair was written or scored, or a policy trained, by the base model.

    A first round that failed for want of a model leaves none of these: its base can be mended.
    """
    pairs = (Pair.project_id == project_id) & (
        Pair.policy_id.is_not(None) | Pair.scored_by.is_not(None)
    )
    policies = (Policy.project_id == project_id) & (Policy.number > 0)
    return _any(session, pairs) or _any(session, policies)


def has_conversations(session: Session, project_id: uuid.UUID) -> bool:
    """Whether any prompt is chat messages."""
    messages = func.jsonb_typeof(Prompt.content) == "array"
    return _any(session, Prompt.project_id == project_id, messages)


def _any(session: Session, *where: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(exists().where(*where))))
