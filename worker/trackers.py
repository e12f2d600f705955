"""Training curves for those who like another tool: accelerate's own trackers, by a setting.

Every step's figures go to each tracker that ``ACTIVEDPO_TRACKERS`` names; they stay in the database
all the same. A tracker that fails is told no more, and the training goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from app.settings import get_settings

log = structlog.get_logger()


class Curves:
    """One training's trackers.

    ``path`` is the attempt's folder in the artefact store, and names the run.
    """

    def __init__(self, path: str, training: Mapping[str, Any]) -> None:
        self._trackers: list[Any] = []
        plain = {k: v for k, v in training.items() if isinstance(v, bool | int | float | str)}
        for name in get_settings().tracker_names:
            try:
                tracker = _started(name, path)
                tracker.store_init_configuration(plain)
                self._trackers.append(tracker)
            except Exception as error:  # tools of others fail in ways of their own
                log.warning("tracker_failed", tracker=name, error=type(error).__name__)

    def __call__(self, step: int, figures: Mapping[str, Any]) -> None:
        """The figures of a step, from 1 on."""
        numbers = {k: v for k, v in figures.items() if isinstance(v, int | float)}
        told = {k: float(v) for k, v in numbers.items() if k != "step"}
        self._each("log", told, step=step)

    def finish(self) -> None:
        """Write what was not written yet."""
        self._each("finish")
        self._trackers = []

    def _each(self, what: str, *given: Any, **more: Any) -> None:
        for tracker in list(self._trackers):
            try:
                getattr(tracker, what)(*given, **more)
            except Exception as error:
                log.warning("tracker_failed", tracker=tracker.name, error=type(error).__name__)
                self._trackers.remove(tracker)


def _started(name: str, path: str) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # their log asks it
    kind = LOGGER_TYPE_TO_CLASS[name]
    if kind.requires_logging_directory:
        tracker = kind(path, logging_dir=str(get_settings().home / "tracking"))
    else:
        tracker = kind("activedpo-" + path.split("/")[1])
    if hasattr(tracker, "start"):
        tracker.start()
    return tracker
