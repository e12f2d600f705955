"""Policies over HTTP: lineage and download."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from app.database import Db
from app.paging import Paged
from app.people.access import CurrentActor, project_for
from app.policies import actions, download, queries
from app.policies.models import Policy

router = APIRouter(prefix="/api/v1", tags=["policies"])


@router.get("/projects/{project_id}/policies")
def list_policies(
    project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged
) -> dict[str, Any]:
    """The policies of a project, π_0 first; `parent` is what one was trained from."""
    project = project_for(db, actor, project_id, "view")
    return page.of(db, queries.policies_of(project.id), Policy.id, queries.policy_view)


class CurrentIn(BaseModel):
    """Which policy the next round begins with."""

    model_config = ConfigDict(extra="forbid")

    policy: uuid.UUID


@router.put("/projects/{project_id}/policy")
def make_current(
    project_id: uuid.UUID, body: CurrentIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Go back (or on) to a policy of the project; 409 while a round is open."""
    project = project_for(db, actor, project_id, "manage")
    policy = actions.make_current(db, project, body.policy, actor.person.id)
    return queries.policy_view(policy)


@router.get("/policies/{policy_id}")
def get_policy(policy_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One policy."""
    policy, _ = queries.policy_for(db, actor, policy_id, "view")
    return queries.policy_view(policy)


@router.put("/policies/{policy_id}/pin")
def pin(policy_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Keep the policy's files whatever the rule of retention says; 409 where they are gone."""
    policy, project = queries.policy_for(db, actor, policy_id, "manage")
    return queries.policy_view(actions.pin(db, project, policy.id, True, actor.person.id))


@router.delete("/policies/{policy_id}/pin")
def unpin(policy_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Let the rule of retention decide again."""
    policy, project = queries.policy_for(db, actor, policy_id, "manage")
    return queries.policy_view(actions.pin(db, project, policy.id, False, actor.person.id))


@router.get("/policies/{policy_id}/download")
def download_policy(
    policy_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    merged: Annotated[bool, Query(description="A full model instead of an adapter.")] = False,
) -> StreamingResponse:
    """A zip that `peft` or `transformers` loads as it is, once unpacked."""
    policy, _ = queries.policy_for(db, actor, policy_id, "manage")
    # What follows may take minutes, and needs the database no more
    db.expunge_all()
    db.rollback()
    content = download.merged(policy) if merged else download.as_stored(policy)
    name = f"policy-{policy.number}{'-merged' if merged else ''}.zip"
    return StreamingResponse(
        content,
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
