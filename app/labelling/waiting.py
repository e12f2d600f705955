"""Long polls: a request that waits holds neither a thread nor a database connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.database import commit_now, let_go, transaction
from app.leaving import leaving
from app.turns import in_turn

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


async def until(
    attempt: Callable[[Session], T],
    good: Callable[[T], bool],
    session: Session,
    request: Request,
    seconds: float,
) -> T:
    """The first outcome of ``attempt`` that is ``good``, or the last one after ``seconds``.

    Args:
        session: the request's own, for the first attempt; each further one has a new one.
        request: once its client has gone, or this process is to end, nothing is attempted any more.
    """
    ends = time.monotonic() + seconds
    found = await run_in_threadpool(_and_commit, attempt, session)
    if good(found) or seconds <= 0:
        return found
    let_go(session)
    pause = FIRST_PAUSE
    while not good(found) and (left := ends - time.monotonic()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, pause * 1.5)
        if leaving.is_set() or await request.is_disconnected():
            break
        found = await in_turn(_in_a_transaction, attempt)
    return found


def _and_commit(attempt: Callable[[Session], T], session: Session) -> T:
    found = attempt(session)
    commit_now(session)
    return found


def _in_a_transaction(attempt: Callable[[Session], T]) -> T:
    with transaction() as session:
        return attempt(session)
