"""SQL of the system page: workers, holds, what waits, versions and sizes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, text
from sqlalchemy.orm import Session

from app.evaluations.models import Evaluation
from app.jobs import queue_of
from app.oracles.models import Delivery, Oracle
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Round, Run
from app.settings import get_settings
from app.system.models import Worker

MOST_WORKERS = 200


@dataclass(frozen=True)
class Hold:
    """Something that a worker has taken: model work of a round, or an oracle.

    ``seconds`` since it was taken (null for an oracle), ``overdue`` when its lease has run out.
    """

    owner: str
    what: str
    project: str
    href: str
    stage: str | None
    done: int
    total: int
    attempt: int
    seconds: float | None
    expires_at: dt.datetime | None
    overdue: bool


def alive() -> ColumnElement[bool]:
    """Whether a worker is there: it has spoken within a lease, and has not said goodbye."""
    lease = func.make_interval(0, 0, 0, 0, 0, 0, get_settings().lease_seconds)
    spoke = Worker.seen_at > func.clock_timestamp() - lease
    return (spoke & Worker.stopped_at.is_(None)).label("alive")


def workers(session: Session) -> Sequence[Row[Worker, bool]]:
    """(worker, whether it is there): those that are there first, then the last heard of."""
    there = alive()
    return session.execute(
        select(Worker, there)
        .order_by(there.desc(), Worker.seen_at.desc(), Worker.id)
        .limit(MOST_WORKERS)
    ).all()


def served(session: Session) -> set[str]:
    """The queues that a worker listens to which is there."""
    found: set[str] = set()
    for queues in session.scalars(select(Worker.queues).where(alive())):
        found.update(queues)
    return found


def lacking(session: Session, runs: Sequence[Run]) -> str | None:
    """The capability that waiting runs need and no worker has which is there; None: none."""
    needed = {queue_of(run.kind) for run in runs if run.state == "queued"}
    if not needed:
        return None
    return min(needed - served(session), default=None)


def holds(session: Session, limit: int) -> list[Hold]:
    """Everything that is held now, longest first."""
    runs = session.execute(
        select(
            Run,
            Project.name,
            func.coalesce(Round.number, Evaluation.number),
            Round.stage,
            func.extract("epoch", func.clock_timestamp() - Run.started_at),
            Run.lease_expires_at < func.clock_timestamp(),
        )
        .join(Project, Project.id == Run.project_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .outerjoin(Evaluation, Evaluation.id == Run.evaluation_id)
        .where(Run.state == "running")
        .order_by(Run.started_at, Run.id)
        .limit(limit)
    )
    oracles = session.execute(
        select(Oracle, Project.name, Oracle.lease_expires_at < func.clock_timestamp())
        .join(Project, Project.id == Oracle.project_id)
        .where(Oracle.lease_owner.is_not(None), Oracle.state.in_(("active", "waiting")))
        .order_by(Oracle.id)
        .limit(limit)
    )
    return [_held_run(*row) for row in runs] + [_held_oracle(*row) for row in oracles]


def _held_run(
    run: Run, project: str, number: int | None, stage: str | None, seconds: Any, overdue: bool
) -> Hold:
    owner = "evaluation" if run.evaluation_id else "round"
    what = f"{run.kind}, {owner} {number}" + (f", shard {run.shard}" if run.shard else "")
    href = f"/{owner}s/{run.owner_id}"
    if run.trial_id is not None:
        what, href = "playground", f"/projects/{run.project_id}/playground"
    return Hold(
        run.lease_owner or "",
        what,
        project,
        href,
        stage,
        run.done,
        run.total,
        run.attempt,
        float(seconds),
        run.lease_expires_at,
        overdue,
    )


def _held_oracle(oracle: Oracle, project: str, overdue: bool | None) -> Hold:
    href = f"/projects/{oracle.project_id}/oracle"
    what = f"oracle ({oracle.kind})"
    owner, until = oracle.lease_owner or "", oracle.lease_expires_at
    return Hold(owner, what, project, href, None, 0, 0, oracle.attempt, None, until, bool(overdue))


def waiting_runs(session: Session) -> dict[str, int]:
    """Model work that nobody has taken yet, by kind."""
    counted = select(Run.kind, func.count()).where(Run.state == "queued").group_by(Run.kind)
    rows = session.execute(counted.order_by(Run.kind))
    return {row.kind: row[1] for row in rows}


def waiting_deliveries(session: Session) -> int:
    """Webhook deliveries that are on their way."""
    query = select(func.count()).select_from(Delivery).where(Delivery.state == "pending")
    return session.scalar(query) or 0


def database_facts(session: Session) -> dict[str, Any]:
    """Version, size in bytes, connections taken and allowed, revision of the schema."""
    row = session.execute(
        text(
            "SELECT current_setting('server_version') AS version, "
            "pg_database_size(current_database()) AS size_bytes, "
            "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) "
            "AS connections, current_setting('max_connections')::int AS connections_allowed, "
            "(SELECT version_num FROM alembic_version) AS revision"
        )
    ).one()
    return dict(row._mapping)


def policies_stored(session: Session) -> tuple[int, int]:
    """(policies with files in the store, their bytes)."""
    row = session.execute(
        select(func.count(), func.coalesce(func.sum(Policy.size_bytes), 0)).where(
            Policy.path.is_not(None), Policy.removed_at.is_(None)
        )
    ).one()
    return int(row[0]), int(row[1])


def owner_named(owner: str) -> str:
    """A lease's owner as people read it: ``host:pid``, without the part that makes it unique."""
    host, _, rest = owner.partition(":")
    return f"{host}:{rest.partition(':')[0]}"


def held_by(held: Sequence[Hold]) -> dict[str, list[Hold]]:
    """Holds by their owner."""
    found: dict[str, list[Hold]] = {}
    for hold in held:
        found.setdefault(hold.owner, []).append(hold)
    return found


def waiting_since(session: Session) -> dict[str, float]:
    """Age in seconds of the oldest waiting model work, by kind."""
    age = func.max(func.extract("epoch", func.clock_timestamp() - Run.created_at))
    rows = session.execute(
        select(Run.kind, age).where(Run.state == "queued").group_by(Run.kind).order_by(Run.kind)
    )
    return {kind: float(seconds) for kind, seconds in rows}
