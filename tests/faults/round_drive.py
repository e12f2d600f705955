"""How acts of a :class:`World` are carried out: alone, ended before or after their commit, while
another transaction is open, or many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.backup.database import libpq
from app.database import transaction
from app.errors import Problem
from tests.faults.round_world import Act
from worker.hold import HoldLostError

FATES = ("stands", "killed", "terminated", "unheard")
"""What becomes of an act's process: nothing; killed before its commit; its backend ended before
its commit; killed after it, so that who asked never learns and asks again."""

ASK_AGAIN = ("40P01", "40001")
"""Deadlock and serialization failure: 503 with Retry-After at the edge."""

REFUSED = (Problem, HoldLostError)
TRIES = 10
Told = Callable[[], None]


class KilledError(Exception):
    """The process of a transaction was killed."""


class Driver:
    """Carries acts out. ``refused``, ``again``: how many were refused, how many deadlocked."""

    def __init__(self, database_url: str) -> None:
        self.watch = psycopg.connect(libpq(database_url), autocommit=True)
        self.pool = ThreadPoolExecutor(12)
        self.done = self.refused = self.again = 0

    def close(self) -> None:
        self.pool.shutdown()
        self.watch.close()

    def alone(self, act: Act | None, fate: str = "stands") -> None:
        """One act, and what its process came to."""
        if act is None:
            return
        told = self._attempt(act, fate)
        if fate == "unheard":
            told()
            told = self._attempt(act, "stands")  # the same is asked again
        elif fate in ("killed", "terminated"):
            return
        told()

    def overlapping(self, first: Act | None, second: Act | None, fate: str) -> None:
        """``second`` begins while ``first`` has done its work and not committed: the same every
        time, since ``first`` goes on only once ``second`` is over or waits for a lock."""
        if first is None or second is None:
            return
        mine, at = _nothing, _At()
        other: Future[Told] | None = None
        try:
            with transaction() as s:
                mine = first.work(s)
                s.flush()
                other = self.pool.submit(self._attempt, second, "stands", at)
                self._wait(other, at)
                self._strike(s, fate)
        except (*REFUSED, KilledError):
            mine = _nothing
        except OperationalError as error:
            _only_what_passes(error, fate)
            mine = _nothing
        theirs = other.result() if other is not None else self._attempt(second, "stands")
        mine()
        theirs()
        self.done += 1

    def at_once(self, acts: Sequence[Act | None]) -> list[Any]:
        """Every act in a thread and on a connection of its own, let go together."""
        wanted = [act for act in acts if act is not None]
        barrier = threading.Barrier(len(wanted)) if wanted else None
        running = [self.pool.submit(self._attempt, act, "stands", None, barrier) for act in wanted]
        for future in running:
            future.exception()  # all of them are over before one is told
        for future in running:
            future.result()()
        return wanted

    def _attempt(
        self,
        act: Act,
        fate: str,
        at: _At | None = None,
        barrier: threading.Barrier | None = None,
    ) -> Told:
        for _ in range(TRIES):
            try:
                with transaction() as s, _where(s, at):
                    if barrier is not None:
                        s.execute(text("SELECT 1"))
                        barrier, waits = None, barrier
                        waits.wait(60)
                    told = act.work(s)
                    s.flush()
                    self._strike(s, fate)
                self.done += 1
                return told
            except REFUSED:
                self.refused += 1
                return _nothing
            except KilledError:
                return _nothing
            except OperationalError as error:
                _only_what_passes(error, fate)
                if fate == "terminated":
                    return _nothing
                self.again += 1
        raise AssertionError(f"{act.name} was told to ask again {TRIES} times")

    def _strike(self, s: Session, fate: str) -> None:
        if fate == "killed":
            raise KilledError
        if fate == "terminated":
            self.watch.execute("SELECT pg_terminate_backend(%s, 5000)", (_pid(s),))

    def _wait(self, other: Future[Told], at: _At) -> None:
        over = threading.Event()
        other.add_done_callback(lambda _: over.set())
        while not over.wait(0.001):
            pid = at.pid
            if pid is None:
                continue
            blocked = self.watch.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,))
            if blocked.fetchone() == (True,):
                return


class _At:
    """The backend that a transaction is on now, once it is on one."""

    pid: int | None = None


@contextmanager
def _where(s: Session, at: _At | None) -> Iterator[None]:
    if at is not None:
        at.pid = _pid(s)
    yield


def _pid(s: Session) -> int:
    pid: int = s.connection().connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    return pid


def _nothing() -> None:
    """It did not happen."""


def _only_what_passes(error: OperationalError, fate: str) -> None:
    if fate == "terminated" and error.connection_invalidated:
        return
    if getattr(error.orig, "sqlstate", None) not in ASK_AGAIN:
        raise error
