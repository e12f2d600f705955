"""The child's progress, sent to its parent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import orjson

from app import faults

EVERY_SECONDS = 0.25


class Report:
    """Sends where a run is; drops what comes faster than anybody reads, never a change of stage."""

    def __init__(self, pipe: Connection, halt: threading.Event | None = None) -> None:
        """``halt``: set once the parent wants a training to end at its next step."""
        self._pipe, self._sending = pipe, threading.Lock()
        self.halt = halt or threading.Event()
        self._begun_at = time.monotonic()
        self._sent_at = 0.0
        self._stage = ""
        self._reached: dict[str, float] = {}
        self._stages: dict[str, dict[str, Any]] = {}
        self._at, self._since = "", self._begun_at

    def __call__(
        self, stage: str, done: int = 0, total: int = 0, checkpoint: str | None = None
    ) -> None:
        now = time.monotonic()
        self._pass(stage, done, now)
        soon = now - self._sent_at < EVERY_SECONDS and done < total
        if soon and stage == self._stage and checkpoint is None:
            return
        self._sent_at, self._stage = now, stage
        self._reached.setdefault(stage, round(now - self._begun_at, 3))
        progress = {"stage": stage, "done": done, "total": total, "checkpoint": checkpoint}
        self.send({"progress": progress})
        faults.point(f"child.{stage}")

    def send(self, message: dict[str, Any]) -> None:
        """A message to the parent, whole; from whichever thread."""
        with self._sending:
            self._pipe.send_bytes(orjson.dumps(message))

    def clock(self) -> dict[str, Any]:
        """Seconds since the work came: until each stage's first report, in each stage, in all.

        A stage lasts until another one reports; ``first`` and ``last`` are what it had done then.
        """
        now = time.monotonic()
        self._spend(now)
        return {
            "reached": self._reached,
            "seconds": round(now - self._begun_at, 3),
            "stages": {
                stage: {**spent, "seconds": round(spent["seconds"], 3)}
                for stage, spent in self._stages.items()
            },
        }

    def of(self, stage: str) -> Callable[[int, int], None]:
        """A callback ``(done, total)`` for one stage."""
        return lambda done, total: self(stage, done, total)

    def _pass(self, stage: str, done: int, now: float) -> None:
        self._spend(now)
        spent = self._stages.setdefault(stage, {"seconds": 0.0, "first": done, "last": done})
        spent["last"], self._at = max(spent["last"], done), stage

    def _spend(self, now: float) -> None:
        if self._at:
            self._stages[self._at]["seconds"] += now - self._since
        self._since = now
