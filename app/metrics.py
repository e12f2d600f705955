"""What Prometheus is told: times of requests, and counts that the database holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Histogram,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.database import get_engine
from app.labelling.models import Claim, Preference
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round, Run
from app.system import figures

log = structlog.get_logger()
REGISTRY = CollectorRegistry()
# Several web processes on one port: each writes its figures into a folder, any of them tells all
_SHARED = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
if _SHARED:
    MultiProcessCollector(REGISTRY)  # type: ignore[no-untyped-call]
for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
    REGISTRY.register(_collector)

REQUESTS = Histogram(
    "activedpo_request_seconds",
    "Time from a request's arrival to the first byte of its answer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=None if _SHARED else REGISTRY,
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Timed:
    """Times every request under its route, never under its path: ids are no labels."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in _METHODS else "other"
                REQUESTS.labels(method, route, str(message["status"])).observe(
                    time.perf_counter() - begun
                )
            await send(message)

        await self.app(scope, receive, observed)


def _counted(
    *by: InstrumentedAttribute[str], where: ColumnElement[bool] | None = None
) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = select(*by, func.count()).group_by(*by)
    return query if where is None else query.where(where)


class _FromDatabase(Collector):
    """Counts read at the scrape: they are right however many processes write."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("activedpo_database_up", "Whether the database answers.")
        try:
            with get_engine().connect() as connection:
                counts = [*_counts(connection), *figures.workers(connection)]
        except (SQLAlchemyError, RuntimeError) as error:
            log.warning("metrics_without_database", error=type(error).__name__)
            counts = []
        up.add_metric([], float(bool(counts)))
        return [up, *counts, *figures.messages()]


def _counts(connection: Connection) -> Iterator[Metric]:
    standing = Preference.deleted_at.is_(None) & Preference.is_label
    waiting = Run.state.in_(("queued", "running"))
    yield _family(
        connection, "labels", "Labels that stand.", ["choice"],
        _counted(Preference.choice, where=standing),
    )  # fmt: skip
    yield _family(connection, "rounds", "Rounds.", ["state"], _counted(Round.state))
    yield _family(
        connection, "runs", "Model work that waits or is held: the queue's depth.",
        ["kind", "state"], _counted(Run.kind, Run.state, where=waiting),
    )  # fmt: skip
    yield _family(
        connection, "runs_retried", "Model work that needed more than one attempt.", ["kind"],
        _counted(Run.kind, where=Run.attempt > 1),
    )  # fmt: skip
    yield _family(
        connection, "leases_overdue", "Holds that ran out and that nobody has taken back.", [],
        select(func.count(Run.id)).where(Run.state == "running", Run.lease_expires_at < func.now()),
    )  # fmt: skip
    yield _family(
        connection, "oldest_waiting_run_seconds", "Age of the model work that waits longest.", [],
        select(func.coalesce(func.max(_age(Run.created_at)), 0)).where(Run.state == "queued"),
    )  # fmt: skip
    yield _family(connection, "claims", "Claims.", ["state"], _counted(Claim.state))
    yield _family(connection, "pairs", "Pairs.", ["state"], _counted(Pair.state))
    yield _family(connection, "prompts", "Prompts.", ["split"], _counted(Prompt.split))
    yield _family(connection, "projects", "Projects.", [], select(func.count(Project.id)))


def _age(moment: InstrumentedAttribute[Any]) -> ColumnElement[int]:
    return func.extract("epoch", func.now() - moment)


def _family(
    connection: Connection,
    name: str,
    help: str,
    labels: list[str],
    query: Select[*tuple[Any, ...]],
) -> Metric:
    family = GaugeMetricFamily(f"activedpo_{name}", help, labels=labels)
    for *values, count in connection.execute(query):
        family.add_metric([str(value) for value in values], float(count))
    return family


REGISTRY.register(_FromDatabase())
