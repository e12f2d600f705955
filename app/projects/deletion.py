"""Deleting a project with all that it holds: hidden at once, erased by a worker, artefacts too.

The row stays until everything else is gone, and says what is still to be done: whoever dies in
between leaves work that the next look takes up. Callers commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Delete, Table, delete, func, select
from sqlalchemy.orm import Session

from app import jobs
from app.database import Base
from app.errors import Conflict, Invalid
from app.evaluations.models import OVER, Evaluation
from app.language import _
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.projects.models import Project
from app.rounds import queries as rounds
from app.rounds.events import record
from app.rounds.models import Round, TrainingLabel

WAKE = "activedpo.retain"
FORGET_AFTER_SECONDS = 600
"""How long the row stays when all else is gone: a worker that held a run may still be writing."""


def delete_project(session: Session, project: Project, name: str, by: uuid.UUID | None) -> None:
    """Delete a project for good: prompts, pairs, labels, rounds, policies and their files, its log.

    Nobody sees it from now on; a worker erases it.

    Args:
        name: the project's name, to confirm.

    Raises:
        Invalid: another name.
        Conflict: a round or an evaluation is under way.
    """
    project = rounds.lock_project(session, project.id)
    if name.strip() != project.name:
        raise Invalid(_("This is not the project's name: nothing was deleted."), field="name")
    _refuse_busy(session, project)
    if oracle_queries.attached(session, project.id) is not None:
        oracles.detach(session, project)
    project.archived, project.deleted_at = True, func.now()
    session.flush()
    # of no project: its own log goes along with it
    record(session, "project.deleted", person_id=by, project=str(project.id))
    jobs.ring(session, WAKE, queue="default")


def _refuse_busy(session: Session, project: Project) -> None:
    round = rounds.open_round_of(session, project.id)
    if round is not None:
        raise Conflict(
            _(
                "Round %(number)s is still %(state)s: finish or cancel it first.",
                number=round.number,
                state=round.state,
            ),
            round=str(round.id),
        )
    busy = select(Evaluation).where(
        Evaluation.project_id == project.id, Evaluation.state.not_in(OVER)
    )
    evaluation = session.scalar(busy.limit(1))
    if evaluation is not None:
        raise Conflict(
            _(
                "Evaluation %(number)s is still %(state)s: close or cancel it first.",
                number=evaluation.number,
                state=evaluation.state,
            ),
            evaluation=str(evaluation.id),
        )


def waiting(session: Session) -> Sequence[tuple[uuid.UUID, bool]]:
    """(project, whether its row may go when all else has) of what is to be erased, oldest first."""
    age = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, FORGET_AFTER_SECONDS)
    rows = session.execute(
        select(Project.id, Project.deleted_at < age)
        .where(Project.deleted_at.is_not(None))
        .order_by(Project.deleted_at)
    )
    return [(id, bool(old)) for id, old in rows]


def steps(project_id: uuid.UUID) -> Iterator[Delete]:
    """What erases a project's rows, table by table, those that refer to others first.

    Each may run in a transaction of its own, and again: all are of one project, and change nothing
    where there is nothing.
    """
    import app.models  # noqa: F401  (all tables there are)

    mine = select(Round.id).where(Round.project_id == project_id)
    yield delete(TrainingLabel).where(TrainingLabel.round_id.in_(mine))
    for table in reversed(Base.metadata.sorted_tables):
        if _goes_along(table):
            yield _all_of(table, project_id)


def _goes_along(table: Table) -> bool:
    """Whether rows of it are a project's own; others outlive it, and say what is to be swept."""
    if "project_id" not in table.c:
        return False
    return any(key.ondelete == "CASCADE" for key in table.c.project_id.foreign_keys)


def _all_of(table: Table, project_id: uuid.UUID) -> Delete:
    return delete(table).where(table.c.project_id == project_id)


def forget(session: Session, project_id: uuid.UUID) -> None:
    """The last row goes."""
    session.execute(delete(Project).where(Project.id == project_id))


def folder_of(project_id: uuid.UUID) -> str:
    """Where all artefacts of a project are."""
    return f"projects/{project_id}"


def amounts(session: Session, project_id: uuid.UUID) -> dict[str, Any]:
    """How much would go, for who is asked to confirm it."""
    from app.evaluations.queries import last_number
    from app.policies.models import Policy
    from app.projects.figures import figures

    held = figures(session, project_id)
    stored = select(func.count(), func.coalesce(func.sum(Policy.size_bytes), 0)).where(
        Policy.project_id == project_id, Policy.path.is_not(None), Policy.removed_at.is_(None)
    )
    policies, size = session.execute(stored).one()
    return {
        "prompts": held.train + held.eval,
        "labels": held.labels,
        "rounds": rounds.last_number(session, project_id),
        "evaluations": last_number(session, project_id),
        "policies": policies,
        "size_bytes": int(size),
    }
