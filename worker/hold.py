"""A worker's hold on a run while the work goes on: renewed in a thread, progress published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.database import transaction
from app.rounds import runs

log = structlog.get_logger()
LOOK_SECONDS = 1.0
"""How often a cancellation or a lost hold is looked for."""


class HoldLostError(Exception):
    """Somebody else has the run, or nobody wants it any more: store nothing."""


@dataclass(slots=True)
class Progress:
    """Where a run is: ``done`` of ``total`` in ``stage``, and where a next attempt would resume."""

    stage: str
    done: int = 0
    total: int = 0
    checkpoint: str | None = None

    def update(self, report: dict[str, Any]) -> None:
        """Take over what the child reports; a checkpoint stays the last one there is."""
        self.stage, self.done, self.total = report["stage"], report["done"], report["total"]
        self.checkpoint = report["checkpoint"] or self.checkpoint


@dataclass
class Hold:
    """Keeps run ``run_id`` ours as a context; when it no longer is, calls ``on_loss`` until then.

    A database out of reach ends the hold only when the lease must have run out by then.
    """

    run_id: UUID
    attempt: int
    lease_seconds: float
    heartbeat_seconds: float
    progress: Progress
    on_loss: Callable[[], None]
    lost: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Hold:
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        renewed_at, shown = time.monotonic(), None
        while not self._stop.wait(0 if shown is None else self._pause):
            due = time.monotonic() - renewed_at >= self.heartbeat_seconds
            now_at = self._snapshot()
            try:
                stands = self._renew() if due or now_at != shown else self._look()
            except SQLAlchemyError as error:
                log.warning("heartbeat_missed", error=type(error).__name__)
                stands = time.monotonic() - renewed_at < self.lease_seconds
            else:
                if due or now_at != shown:
                    renewed_at = time.monotonic()
            shown = now_at
            if not stands:
                self.lost.set()
                self._end_work()
                return

    def _end_work(self) -> None:
        self.on_loss()
        while not self._stop.wait(self._pause):  # what was about to start has started meanwhile
            self.on_loss()

    @property
    def _pause(self) -> float:
        return min(LOOK_SECONDS, self.heartbeat_seconds)

    def _snapshot(self) -> tuple[str, int, int, str | None]:
        at = self.progress
        return at.stage, at.done, at.total, at.checkpoint

    def _renew(self) -> bool:
        stage, done, total, checkpoint = self._snapshot()
        with transaction() as session:
            return runs.renew(
                session,
                self.run_id,
                self.attempt,
                self.lease_seconds,
                done,
                total,
                stage,
                checkpoint,
            )

    def _look(self) -> bool:
        with transaction() as session:
            return runs.wanted(session, self.run_id, self.attempt)
