"""Says every few seconds that this worker is there, and what it has counted."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app import skew
from app.database import transaction
from app.settings import get_settings
from app.system import actions
from app.system.actions import Identity
from worker.tally import Tally

log = structlog.get_logger()
LAST_WORD_SECONDS = 3.0


class Presence:
    """A row in the table of workers, written anew with every heartbeat.

    Nothing hangs on it: a database that cannot be reached is tried again at the next beat.
    """

    def __init__(self, owner: str, tally: Tally, device: Callable[[], dict[str, Any]]) -> None:
        self._owner, self._tally, self._device = owner, tally, device
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """What people call this worker: ``host:pid``."""
        return ":".join(self._owner.split(":")[:2])

    def start(self, queues: Iterable[str]) -> None:
        """Begin to speak, in a thread of its own."""
        who = Identity(
            self._owner,
            socket.gethostname(),
            os.getpid(),
            tuple(sorted(queues)),
            version("activedpo"),
            skew.shipped()[0],
        )
        self._thread = threading.Thread(
            target=self._speak, args=(who,), name="presence", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, so that nobody waits for this worker."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(LAST_WORD_SECONDS)

    def _speak(self, who: Identity) -> None:
        pause = get_settings().heartbeat_seconds
        while True:
            stopping = self._stopping.is_set()
            try:
                with transaction() as session:
                    actions.seen(
                        session, who, self._device(), self._tally.figures(), stopping=stopping
                    )
            except SQLAlchemyError as error:
                log.warning("presence_not_told", error=type(error).__name__)
            if stopping:
                return
            self._stopping.wait(pause)
