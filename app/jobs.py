"""Wake-up calls to the worker, by name and with ids alone, sent after the commit.

A message carries no truth: any number of copies may arrive, none may arrive, the outcome is
the same, because the worker reads what is to be done from Postgres and the reconciler asks
again. So a broker that is down costs seconds and never fails a request.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any

import structlog
from celery import Celery
from sqlalchemy.orm import Session

from app import tracing
from app.settings import get_settings

log = structlog.get_logger()

TRAIN, GENERATE, DEFAULT = "train", "generate", "default"
QUEUES = (TRAIN, GENERATE, DEFAULT)
"""One a capability: trainings; all other work of a model; what needs no model."""

CAPABILITIES = {
    "train": (TRAIN,),
    "generate": (GENERATE,),
    "gpu": (TRAIN, GENERATE),
    "cpu": (DEFAULT,),
}
"""What a worker may be told to take, as people say it: the queues it listens to."""

Bell = tuple[str, str, tuple[str, ...]]


def ring(session: Session, task: str, *ids: uuid.UUID, queue: str = GENERATE) -> None:
    """Ask for ``task`` to look at ``ids`` once this session's transaction has committed.

    Args:
        queue: one of :data:`QUEUES`: only workers that can do it are asked.
    """
    bells: list[Bell] = session.info.setdefault("bells", [])
    bell = (task, queue, tuple(map(str, ids)))
    if bell not in bells:
        bells.append(bell)


def queue_of(kind: str) -> str:
    """Where a worker is asked to do a run of ``kind``."""
    return TRAIN if kind == "train" else GENERATE


def take(session: Session) -> list[Bell]:
    """The bells of this session, which forgets them."""
    bells: list[Bell] = session.info.pop("bells", [])
    return bells


@lru_cache
def _broker() -> Any:
    return Celery("activedpo", broker=get_settings().redis_url, set_as_current=False)


def send(bells: list[Bell]) -> None:
    """Send wake-up calls; a broker out of reach is logged and left to the reconciler."""
    for task, queue, ids in bells:
        try:
            _broker().send_task(task, args=ids, queue=queue, retry=False, headers=tracing.carried())
        except Exception as error:
            log.warning("bell_not_sent", task=task, ids=ids, error=type(error).__name__)
