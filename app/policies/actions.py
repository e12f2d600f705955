"""What can be done with policies: go back to an earlier one. Callers commit."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.language import _
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds import queries as rounds
from app.rounds.events import record

GONE = "The files of this policy were removed by the rule of retention; its figures stay."


def make_current(
    session: Session, project: Project, policy_id: uuid.UUID, by: uuid.UUID | None
) -> Policy:
    """Let the next round begin with this policy; no policy is lost, and labels stay.

    Raises:
        NotFound: the project has no such policy.
        Conflict: a round is open, whose outcome would take the place anyway.
    """
    project = rounds.lock_project(session, project.id)
    policy = session.get(Policy, policy_id)
    if policy is None or policy.project_id != project.id:
        raise NotFound(_("The project has no such policy."))
    if policy.id == project.policy_id:
        return policy
    if policy.removed_at is not None:
        raise Conflict(GONE)
    already = rounds.open_round_of(session, project.id)
    if already is not None:
        raise Conflict(
            _(
                "Round %(number)s is still %(state)s: finish or cancel it first.",
                number=already.number,
                state=already.state,
            ),
            round=str(already.id),
        )
    before = session.get(Policy, project.policy_id) if project.policy_id else None
    project.policy_id = policy.id
    session.flush()
    record(
        session,
        "policy.made_current",
        project_id=project.id,
        person_id=by,
        policy=str(policy.id),
        number=policy.number,
        before=before.number if before else None,
    )
    return policy


def pin(
    session: Session, project: Project, policy_id: uuid.UUID, pinned: bool, by: uuid.UUID | None
) -> Policy:
    """Keep a policy's files whatever the rule of retention says, or no longer.

    Raises:
        NotFound: the project has no such policy.
        Conflict: its files are gone already.
    """
    project = rounds.lock_project(session, project.id)
    policy = session.get(Policy, policy_id, populate_existing=True)
    if policy is None or policy.project_id != project.id:
        raise NotFound(_("The project has no such policy."))
    if policy.removed_at is not None:
        raise Conflict(GONE)
    if policy.pinned != pinned:
        policy.pinned = pinned
        kind = "policy.pinned" if pinned else "policy.unpinned"
        record(session, kind, project_id=project.id, person_id=by, policy=str(policy.id))
        session.flush()
    return policy
