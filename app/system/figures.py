"""What Prometheus is told of workers: that they are there, and what they have counted.

Workers are processes on many hosts that come and go, so nobody scrapes them: each writes its
counters into its row with every heartbeat, and the web tells them with a label of the worker. A
counter falls to 0 when a worker starts anew, as counters of a scraped process do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Connection, Row, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from app.jobs import QUEUES
from app.system import parts
from app.system.models import GAUGES, TALLIES, Worker
from app.system.queries import alive

TOLD_SECONDS = 600
"""How long the figures of a worker that is gone are told, so that the last ones are scraped."""

Rows = list[Row[Worker]]


def workers(connection: Connection) -> Iterator[Metric]:
    """Families of everything that workers say."""
    age = func.extract("epoch", func.clock_timestamp() - Worker.seen_at).label("age")
    told = func.make_interval(0, 0, 0, 0, 0, 0, TOLD_SECONDS)
    rows = list(
        connection.execute(
            # a container's process ids come again: of two rows with one name, the newer counts
            select(Worker.host, Worker.pid, Worker.queues, Worker.device, Worker.tallies)
            .add_columns(age, alive(), Worker.stopped_at)
            .ext(distinct_on(Worker.host, Worker.pid))
            .where(Worker.seen_at > func.clock_timestamp() - told)
            .order_by(Worker.host, Worker.pid, Worker.seen_at.desc())
        )
    )
    yield _there(rows)
    yield _ages(rows)
    for name, (help, labels) in TALLIES.items():
        yield _counter(name, help, labels, rows)
    for name, (help, labels) in GAUGES.items():
        gauge = GaugeMetricFamily(f"activedpo_worker_{name}", help, labels=["worker", *labels])
        yield _filled(gauge, name, rows)


def messages() -> Iterable[Metric]:
    """Wake-up calls that no worker has taken yet; nothing where the broker does not answer."""
    family = GaugeMetricFamily(
        "activedpo_queue_messages", "Wake-up calls in the broker.", labels=["queue"]
    )
    broker = parts.broker()
    for name, depth in (broker["messages"] if broker else {}).items():
        family.add_metric([name], float(depth))
    return [family]


def _there(rows: Rows) -> Metric:
    family = GaugeMetricFamily(
        "activedpo_workers", "Workers that are there, by queue.", labels=["queue"]
    )
    for queue in QUEUES:
        family.add_metric([queue], sum(row.alive and queue in row.queues for row in rows))
    return family


def _ages(rows: Rows) -> Metric:
    family = GaugeMetricFamily(
        "activedpo_worker_silent_seconds", "Since a worker was heard of.", labels=["worker"]
    )
    for row in rows:
        if row.stopped_at is None:  # who has said goodbye is missed by nobody
            family.add_metric([_name(row)], float(row.age))
    return family


def _counter(name: str, help: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"activedpo_worker_{name}", help, labels=["worker", *labels])
    return _filled(family, name, rows)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, name: str, rows: Rows
) -> CounterMetricFamily | GaugeMetricFamily:
    for row in rows:
        for labels, value in row.tallies.get(name, {}).items():
            family.add_metric([_name(row), *labels.split("|")], float(value))
    return family


def _name(row: Row[Worker]) -> str:
    return f"{row.host}:{row.pid}"
