"""The system at one moment, as JSON and for the page."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import version
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app import skew
from app.health import checks
from app.jobs import DEFAULT, GENERATE, QUEUES, TRAIN, queue_of
from app.language import _
from app.policies import retention
from app.settings import get_settings
from app.system import parts, queries, troubles
from app.system.models import Worker
from app.system.queries import Hold

MOST_HELD = 200
MOST_FAULTS = 20
WORK_OF_QUEUE = {
    TRAIN: _("trainings"),
    GENERATE: _("generations and evaluations"),
    DEFAULT: _("webhook deliveries"),
}


def view(session: Session) -> dict[str, Any]:
    """Workers, queues, holds, what went wrong, versions and sizes."""
    held = queries.holds(session, MOST_HELD)
    rows = queries.workers(session)
    broker = parts.broker()
    return {
        "checks": [dataclasses.asdict(check) for check in checks()],
        "workers": [_worker(row, queries.held_by(held)) for row in rows],
        "queues": _queues(session, rows, broker),
        "waiting": _waiting(session),
        "leases": [dataclasses.asdict(hold) for hold in held],
        "errors": [dataclasses.asdict(fault) for fault in troubles.faults(session, MOST_FAULTS)],
        "database": queries.database_facts(session),
        "broker": {k: v for k, v in broker.items() if k != "messages"} if broker else None,
        "store": _store(session),
        "retention": _retention(session),
        "version": version("activedpo"),
        "revision": skew.shipped()[0],
        "python": platform.python_version(),
    }


def _worker(row: Row[Worker, bool], held: dict[str, list[Hold]]) -> dict[str, Any]:
    worker, there = row
    return {
        "id": str(worker.id),
        "host": worker.host,
        "pid": worker.pid,
        "queues": worker.queues,
        "device": worker.device,
        "version": worker.version,
        "revision": worker.revision,
        "state": "there" if there else "stopped" if worker.stopped_at else "silent",
        "started_at": worker.created_at,
        "seen_at": worker.seen_at,
        "work": [dataclasses.asdict(hold) for hold in held.get(worker.owner, [])],
    }


def _queues(session: Session, rows: Any, broker: dict[str, Any] | None) -> list[dict[str, Any]]:
    waits = dict.fromkeys(QUEUES, 0) | {DEFAULT: queries.waiting_deliveries(session)}
    for kind, count in queries.waiting_runs(session).items():
        waits[queue_of(kind)] += count
    return [
        {
            "name": name,
            "messages": broker["messages"][name] if broker else None,
            "waiting": waits[name],
            "of": WORK_OF_QUEUE[name],
            "workers": sum(name in worker.queues for worker, there in rows if there),
        }
        for name in QUEUES
    ]


def _waiting(session: Session) -> list[dict[str, Any]]:
    ages = queries.waiting_since(session)
    return [
        {"kind": kind, "count": count, "oldest_seconds": ages.get(kind)}
        for kind, count in queries.waiting_runs(session).items()
    ]


def _retention(session: Session) -> dict[str, Any]:
    """What the rule would let go now, and what it let go whose files are still there."""
    going = retention.would_go(session)
    count, size = retention.waiting(session)
    return {
        "keep": get_settings().keep_policies,
        "would_go": [dataclasses.asdict(one) for one in going],
        "would_free_bytes": sum(one.size_bytes for one in going),
        "waiting": count,
        "waiting_bytes": size,
    }


def _store(session: Session) -> dict[str, Any]:
    policies, size = queries.policies_stored(session)
    return {
        "url": parts.store_url(),
        "policies": policies,
        "size_bytes": size,
        "free_bytes": parts.store_free_bytes(),
    }
