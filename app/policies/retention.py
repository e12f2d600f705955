"""Which policies keep their files: the last N, and whatever somebody still needs.

A policy's row stays for ever, with its figures and lineage; what goes is its folder in the
artefact store. First the row says so (:func:`retire`), then, an hour later, the folder is removed
(:func:`due`), then the row says that too (:func:`reclaimed`). Whoever dies in between leaves a row
that says what is still to be done.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.evaluations.models import Evaluation
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds import queries as rounds
from app.rounds.events import record
from app.rounds.models import CLOSED, Round
from app.settings import get_settings

RECLAIM_AFTER_SECONDS = 3600
"""How long the files of a retired policy stay, for downloads, backups and workers under way."""

BEST_BY = "win_rate"


@dataclass(frozen=True)
class Going:
    """A policy whose files go, or would go."""

    id: uuid.UUID
    project_id: uuid.UUID
    project: str
    number: int
    size_bytes: int


def kept_of(project: Project) -> int:
    """How many of a project's policies keep their files; 0: all."""
    own = project.keep_policies
    return get_settings().keep_policies if own is None else own


def projects_with_a_rule(session: Session) -> Sequence[uuid.UUID]:
    """Projects where some policy may have to go."""
    query = select(Project.id).order_by(Project.id)
    if not get_settings().keep_policies:
        query = query.where(Project.keep_policies.is_not(None))
    return session.scalars(query).all()


def going(session: Session, project: Project) -> list[Policy]:
    """The policies that the rule would retire now, oldest first."""
    keep = kept_of(project)
    if not keep:
        return []
    there = list(
        session.scalars(
            select(Policy)
            .where(Policy.project_id == project.id, Policy.path.is_not(None))
            .where(Policy.removed_at.is_(None))
            .order_by(Policy.number.desc())
        )
    )
    needed = _needed(session, project, there)
    return [policy for policy in there[keep:] if policy.id not in needed][::-1]


def _needed(session: Session, project: Project, there: Sequence[Policy]) -> set[uuid.UUID | None]:
    """What stays whatever its age: current, best, pinned, of a round that is not over, or of an
    evaluation whose completions are still to be written."""
    open_rounds = session.execute(
        select(Round.policy_in_id, Round.policy_out_id).where(
            Round.project_id == project.id, Round.state.not_in(CLOSED)
        )
    )
    compared = session.execute(
        select(Evaluation.policy_a_id, Evaluation.policy_b_id).where(
            Evaluation.project_id == project.id, Evaluation.state.in_(("generating", "failed"))
        )
    )
    needed = {id for row in (*open_rounds, *compared) for id in row} | {project.policy_id}
    judged = [policy for policy in there if policy.metrics.get(BEST_BY) is not None]
    if judged:
        needed.add(max(judged, key=lambda one: (one.metrics[BEST_BY], one.number)).id)
    return needed | {policy.id for policy in there if policy.pinned}


def would_go(session: Session) -> list[Going]:
    """The same over all projects, changing nothing."""
    found = []
    for project_id in projects_with_a_rule(session):
        project = session.get_one(Project, project_id)
        found += [_going(project, policy) for policy in going(session, project)]
    return found


def retire(session: Session, project_id: uuid.UUID) -> list[Going]:
    """Write into the rows whose files go that they do; one project, under its lock.

    The lock is the one that opening a round and making a policy current take: none of them can
    choose a policy that is being retired.
    """
    project = rounds.lock_project(session, project_id)
    found = going(session, project)
    for policy in found:
        policy.removed_at, policy.files = func.now(), {}
        record(
            session,
            "policy.retired",
            project_id=project.id,
            policy=str(policy.id),
            number=policy.number,
            bytes=policy.size_bytes,
            keep=kept_of(project),
        )
    session.flush()
    return [_going(project, policy) for policy in found]


def due(session: Session, limit: int = 100) -> list[tuple[uuid.UUID, str]]:
    """(id, path) of retired policies whose folder is to be removed now."""
    age = func.make_interval(0, 0, 0, 0, 0, 0, RECLAIM_AFTER_SECONDS)
    rows = session.execute(
        select(Policy.id, Policy.path)
        .where(Policy.removed_at < func.now() - age, Policy.reclaimed_at.is_(None))
        .order_by(Policy.removed_at, Policy.id)
        .limit(limit)
    )
    return [(id, path) for id, path in rows if path is not None]


def reclaimed(session: Session, policy_id: uuid.UUID) -> None:
    """The folder is gone."""
    session.get_one(Policy, policy_id).reclaimed_at = func.now()
    session.flush()


def standing(session: Session, paths: Sequence[str]) -> set[str]:
    """Those of the folders in the store that a policy still has."""
    query = select(Policy.path).where(Policy.path.in_(paths), Policy.removed_at.is_(None))
    return {path for path in session.scalars(query) if path is not None}


def waiting(session: Session) -> tuple[int, int]:
    """(policies retired whose files are still there, their bytes)."""
    row = session.execute(
        select(func.count(), func.coalesce(func.sum(Policy.size_bytes), 0)).where(
            Policy.removed_at.is_not(None), Policy.reclaimed_at.is_(None)
        )
    ).one()
    return int(row[0]), int(row[1])


def _going(project: Project, policy: Policy) -> Going:
    return Going(policy.id, project.id, project.name, policy.number, policy.size_bytes)
