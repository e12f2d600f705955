"""What every Celery task gets: a log context, one line for an error, no retry of its own, and
no work on a database of another version.

A task that fails is not repeated by Celery: it was a wake-up call, and the reconciler makes the
next one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import structlog
from celery import current_task
from celery.exceptions import Ignore

from app import skew
from app.database import get_engine
from worker import spans

log = structlog.get_logger()


def task(function: Callable[..., object]) -> Callable[..., None]:
    """Wrap the body of a task."""

    @functools.wraps(function)
    def wrapped(*args: str) -> None:
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(task=function.__name__, args=list(args)):
            try:
                with get_engine().connect() as connection:
                    skew.check_again(connection)
                with spans.of_message(function.__name__.strip("_"), current_task):
                    function(*args)
            except skew.SkewError as error:
                log.error("work_refused", reason=error.detail)
                return
            except Exception as error:
                log.exception("task_failed")
                raise Ignore from error
            log.debug("task_done", seconds=round(time.monotonic() - started, 3))

    return wrapped
