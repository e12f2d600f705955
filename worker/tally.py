"""What a worker has counted since it started: see :data:`app.system.models.TALLIES`."""

from __future__ import annotations

import threading
from typing import Any

from app.system.models import GAUGES, TALLIES
from worker import volume

Tallies = dict[str, dict[str, float]]


class Tally:
    """Counters and gauges of one worker process; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: Tallies = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Raise a counter."""
        assert len(labels) == len(TALLIES[name][1]), name
        with self._lock:
            figures = self._figures.setdefault(name, {})
            figures["|".join(labels)] = figures.get("|".join(labels), 0) + by

    def measure(self, name: str, *labels: str, value: float) -> None:
        """Set a gauge."""
        assert len(labels) == len(GAUGES[name][1]), name
        with self._lock:
            self._figures.setdefault(name, {})["|".join(labels)] = value

    def worked(self, kind: str, clock: dict[str, Any], done: volume.Volume) -> None:
        """Count what the child's clock says, and what went through each of its stages."""
        for stage, spent in clock.get("stages", {}).items():
            self.count("stage_seconds", kind, stage, by=spent["seconds"])
        for stage, (pairs, tokens) in done.items():
            if pairs:
                self.count("pairs", kind, stage, by=pairs)
            if tokens:
                self.count("tokens", kind, stage, by=tokens)
        for where, size in clock.get("memory", {}).items():
            self.measure("peak_memory_bytes", kind, where, value=size)

    def figures(self) -> Tallies:
        """A copy of all figures, by name and by labels joined by "|"."""
        with self._lock:
            return {name: dict(figures) for name, figures in self._figures.items()}
