"""What is shown of policies, and who may see them."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language import _
from app.people.access import Actor, project_for
from app.policies.models import Policy
from app.projects.models import Project


def policies_of(project_id: uuid.UUID) -> Select[Policy]:
    """The policies of a project."""
    return select(Policy).where(Policy.project_id == project_id)


def policy_view(policy: Policy) -> dict[str, Any]:
    """A policy as JSON: what it is, what it came from and how good it was found to be."""
    return {
        "id": policy.id,
        "project": policy.project_id,
        "number": policy.number,
        "kind": policy.kind,
        "base_model": policy.base_model,
        "parent": policy.parent_id,
        "round": policy.round_id,
        "labels": policy.labels,
        "metrics": policy.metrics,
        "size_bytes": policy.size_bytes,
        "files": policy.files,
        "pinned": policy.pinned,
        "removed_at": policy.removed_at,
        "created_at": policy.created_at,
    }


def policy_for(
    session: Session, actor: Actor, policy_id: uuid.UUID, need: Literal["view", "manage"]
) -> tuple[Policy, Project]:
    """The policy and its project, if the actor may do ``need`` there.

    Raises:
        NotFound: there is none, or not for this actor.
        Forbidden: the actor sees the project and may not do this.
    """
    missing = NotFound(_("There is no such policy, or you are not a member of its project."))
    policy = session.get(Policy, policy_id)
    if policy is None:
        raise missing
    try:
        return policy, project_for(session, actor, policy.project_id, need)
    except NotFound:
        raise missing from None
