"""The Celery application: two kinds of wake-up call and the clock.

A message is never the truth. It is acknowledged before the work begins, so that work of hours
cannot be redelivered; what is to be done stands in Postgres, and the reconciler asks again.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any
from uuid import UUID

import redis
from celery import Celery, signals

from app import jobs, tracing
from app.database import transaction
from app.privacy import retention
from app.settings import get_settings
from worker import judge, logs, reconciler, webhooks
from worker import retention as policies
from worker.device import JOBS, Device
from worker.oracle import Office
from worker.presence import Presence
from worker.task import task

settings = get_settings()
app = Celery("activedpo", broker=settings.redis_url, set_as_current=False)
app.conf.update(
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_concurrency=4,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_keepalive": True, "health_check_interval": 10},
    task_default_queue="default",
    task_create_missing_queues=True,
    task_queues=None,
    task_routes={
        "activedpo.round": {"queue": jobs.GENERATE},
        "activedpo.reconcile": {"queue": "default"},
        "activedpo.retention": {"queue": "default"},
    },
    # in memory: the clock needs no file, and a shelf of pickles least of all
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "reconcile": {
            "task": "activedpo.reconcile",
            "schedule": settings.reconcile_seconds,
            # so that no heap of them waits for a worker that was away
            "options": {"queue": "default", "expires": max(60, 4 * settings.reconcile_seconds)},
        },
        "retention": {
            "task": "activedpo.retention",
            "schedule": 3600.0,
            "options": {"queue": "default", "expires": 3600},
        },
        "retain": {
            "task": "activedpo.retain",
            "schedule": policies.EVERY_SECONDS,
            "options": {"queue": "default", "expires": policies.EVERY_SECONDS},
        },
    },
)


def _listens() -> set[str]:
    return set(app.amqp.queues.consume_from)


@lru_cache(maxsize=1)
def device() -> Device:
    """The accelerator of this worker process, for what it takes."""
    listens = _listens()
    kinds = [kind for kind in JOBS if jobs.queue_of(kind) in listens]
    return Device(kinds, otherwise=judge.one_batch if jobs.GENERATE in listens else None)


@lru_cache(maxsize=1)
def office() -> Office:
    """The oracles of this worker process that need no accelerator."""
    return Office(device().owner)


@lru_cache(maxsize=1)
def presence() -> Presence:
    """What this worker process says of itself."""
    return Presence(device().owner, device().tally, lambda: device().accelerator.device)


@app.task(name="activedpo.round")  # type: ignore[untyped-decorator]
@task
def round_(*_: str) -> None:
    """A round may have work: do whatever waits, of any round."""
    device().drain()


@app.task(name="activedpo.oracle")  # type: ignore[untyped-decorator]
@task
def oracle(project_id: str) -> None:
    """A project's oracle may have something to label."""
    office().wake(UUID(project_id))


@app.task(name="activedpo.webhooks")  # type: ignore[untyped-decorator]
@task
def webhooks_(*_: str) -> None:
    """Something happened that others want to be told of."""
    webhooks.deliver_due()


@app.task(name="activedpo.reconcile")  # type: ignore[untyped-decorator]
@task
def reconcile(*_: str) -> None:
    """Ask again for what was forgotten, lost or left behind."""
    reconciler.reconcile()


@app.task(name="activedpo.answer")  # type: ignore[untyped-decorator]
@task
def answer(token: str) -> None:
    """Somebody asks whether this queue is served (``activedpo doctor --deep``)."""
    with redis.Redis.from_url(str(settings.redis_url)) as client:
        client.rpush(f"activedpo.answer.{token}", presence().name)
        client.expire(f"activedpo.answer.{token}", 60)


@app.task(name="activedpo.retention")  # type: ignore[untyped-decorator]
@task
def retention_(*_: str) -> None:
    """Forget what is kept of people no longer than the settings say."""
    with transaction() as session:
        retention.enforce(session)


@app.task(name="activedpo.retain")  # type: ignore[untyped-decorator]
@task
def retain(*_: str) -> None:
    """Let go of old policies, by the rule of their project."""
    policies.retain()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _logging(**_: Any) -> None:
    logs.configure(settings.log_level)


@signals.celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _gpu_means_both(instance: Any, **_: Any) -> None:
    # ``-Q gpu``, as it was before trainings had a queue of their own
    if "gpu" in _listens():
        for queue in jobs.CAPABILITIES["gpu"]:
            instance.app.amqp.queues.select_add(queue)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _at_start(**_: Any) -> None:
    tracing.configure("worker")
    presence().start(_listens())
    # in a thread of its own, so that a database that is not there yet holds up nobody
    threading.Thread(target=_first_look, daemon=True).start()


def _first_look() -> None:
    task(reconciler.reconcile)()
    while True:
        task(policies.tidy)()
        if device().stopping.wait(policies.EVERY_SECONDS):
            return


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _at_stop(**_: Any) -> None:
    office().stop()
    device().stop(settings.stop_seconds)
    presence().stop()
    tracing.flush()
