"""Pages of policies: the list of a project, and one with its lineage."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import NotFound
from app.language import _
from app.people.access import Actor, project_for
from app.policies import actions
from app.policies.lineage import lineage, newest_policies
from app.policies.models import Policy
from app.projects.figures import policy_numbers
from app.projects.pages import shared
from app.rounds import story
from app.web import Checked, PageActor, go, policy_names, render

router = APIRouter(include_in_schema=False)

MOST_POLICIES = 500


@router.get("/projects/{project_id}/policies")
def policies(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Every policy of a project, the newest first."""
    project = project_for(db, actor, project_id, "view")
    return render(
        request,
        "policies/index.html",
        **shared(db, actor, project, "policies"),
        policies=newest_policies(db, project.id, MOST_POLICIES),
        policy_name=policy_names(policy_numbers(db, project.id)),
    )


@router.get("/policies/{policy_id}")
def policy_page(request: Request, policy_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """One policy: figures, where it comes from, how to use it."""
    policy = _found(db, policy_id)
    project = project_for(db, actor, policy.project_id, "view")
    return render(
        request,
        "policies/policy.html",
        **shared(db, actor, project, "policies"),
        policy=policy,
        lineage=lineage(db, policy),
        outcome=story.outcome(policy.metrics, trained=policy.kind != "base"),
        curves=story.curves(policy.metrics),
        metrics=story.listed(policy.metrics),
    )


@router.post("/policies/{policy_id}/current", dependencies=[Checked])
def make_current(policy_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Let the next round begin with this policy."""
    policy = _found(db, policy_id)
    project = project_for(db, actor, policy.project_id, "manage")
    actions.make_current(db, project, policy.id, actor.person.id)
    return go(f"/policies/{policy.id}", "current")


@router.post("/policies/{policy_id}/pin", dependencies=[Checked])
def pin(policy_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Keep its files whatever the rule of retention says."""
    return _pinned(db, actor, policy_id, True)


@router.post("/policies/{policy_id}/unpin", dependencies=[Checked])
def unpin(policy_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Let the rule of retention decide again."""
    return _pinned(db, actor, policy_id, False)


def _pinned(db: Session, actor: Actor, policy_id: uuid.UUID, pinned: bool) -> Response:
    policy = _found(db, policy_id)
    project = project_for(db, actor, policy.project_id, "manage")
    actions.pin(db, project, policy.id, pinned, actor.person.id)
    return go(f"/policies/{policy.id}", "pinned" if pinned else "unpinned")


def _found(db: Session, policy_id: uuid.UUID) -> Policy:
    policy = db.get(Policy, policy_id)
    if policy is None:
        raise NotFound(_("There is no such policy, or it is not yours to see."))
    return policy
