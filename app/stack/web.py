"""Web processes: they take connections from one socket, and leave it without dropping a request.

The socket outlives each process: whoever holds it (``up``, ``serve --processes``, systemd) hands it
on, so that a connection that nobody has taken yet waits for the next process.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from types import FrameType

import uvicorn

from app.leaving import leaving
from app.settings import Settings
from app.stack import process
from app.stack.part import Part, say

BACKLOG = 2048
QUICK_SECONDS = 3
READY_SECONDS = 60.0
CLOSE = (b"connection", b"close")


class PortTakenError(Exception):
    """Another program listens where the web server should."""


def bind(host: str, port: int) -> socket.socket:
    """The web server's address; :meth:`~socket.socket.listen` opens it.

    Raises:
        PortTakenError: it cannot be had; the message says what to do.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
        raise PortTakenError(
            f"Port {port} on {host} {why}. Set PORT to another one, e.g. PORT={port + 1}."
        ) from error
    return made


class Web(uvicorn.Server):
    """One web process.

    SIGTERM: it takes no further connection, answers every request that comes on those it has, each
    with ``Connection: close``, and ends when all are closed. SIGINT: what runs has three seconds.
    """

    def __init__(self, config: uvicorn.Config, patience: float, ready: int | None = None) -> None:
        """``patience``: seconds for what still runs; ``ready``: a pipe to tell of the start."""
        super().__init__(config)
        self._patience, self._ready, self._gently = patience, ready, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self._ready is not None and self.started:
            with suppress(BrokenPipeError):  # another one was started meanwhile: that is waited for
                os.write(self._ready, b"1")
            os.close(self._ready)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note how to end."""
        self._gently = sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        if self._gently:
            await self._leave()
        await super().shutdown(sockets)

    async def _leave(self) -> None:
        for server in self.servers:
            server.close()
        leaving.set()
        self.config.timeout_graceful_shutdown = int(self._patience)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        # An idle connection is closed when its time is over, as at any other hour: a client that
        # sends at this very moment would lose its request
        deadline = time.monotonic() + self.config.timeout_keep_alive + 0.5
        await asyncio.sleep(0.1)
        while self.server_state.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def serve(settings: Settings, listening: socket.socket, ready: int | None = None) -> None:
    """Run one web process on a socket until a signal comes."""
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        http="h11",  # the one parser with a limit on what a client may send as head of a request
        log_level=settings.log_level.lower(),
        access_log=False,
        # Pages that watch a round keep a connection open for as long as they are looked at
        timeout_graceful_shutdown=QUICK_SECONDS,
    )
    listening.listen(BACKLOG)
    web = Web(config, settings.stop_seconds, ready)
    web.run([listening])
    if not web.started:
        sys.exit(3)


class _Console:
    """Children write to our own output."""

    def line(self, text: str) -> None:
        say("web", text)

    def follow(self, _: subprocess.Popen[bytes]) -> None:
        return


class Webs:
    """Several web processes on one socket: one that dies is replaced, SIGHUP replaces all.

    On SIGHUP they are replaced one by one: a new one answers before an old one leaves. So a new
    version that is installed in place of the old one takes over without a dropped request.
    """

    def __init__(self, settings: Settings, listening: socket.socket, count: int) -> None:
        self._settings, self._socket = settings, listening
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: int | None = None
        self._parts = [
            Part(f"web {number}", self._start, _Console(), grace=settings.stop_seconds + 10)
            for number in range(1, count + 1)
        ]

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        self._socket.listen(BACKLOG)
        with tempfile.TemporaryDirectory(prefix="activedpo-metrics-") as together:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = together
            self._run()

    def _run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda told, _: self._signals.put(told))
        while True:
            for part in self._parts:
                part.check()
            try:
                told = self._signals.get(timeout=0.2)
            except queue.Empty:
                continue
            if told != signal.SIGHUP:
                break
            self._replace_all()
        for part in self._parts:
            if part.child is not None:
                part.child.send_signal(told)
        for part in self._parts:
            part.end()

    def _start(self) -> subprocess.Popen[bytes]:
        ready, told = os.pipe()
        own = [sys.executable, "-m", "app.cli", "serve", "--fd", str(self._socket.fileno())]
        child = process.start(
            [*own, "--ready", str(told)],
            pass_fds=(self._socket.fileno(), told),
            on_parent_death=signal.SIGTERM,
        )
        os.close(told)
        if self._ready is not None:
            os.close(self._ready)
        self._ready = ready
        return child

    def _replace_all(self) -> None:
        for part in self._parts:
            old = part.child
            part.launch()
            if not self._latest_answers():
                say("web", "the new process does not start: the old ones stay")
                if part.child is not None:
                    process.stop(part.child, signal.SIGTERM, 1)
                part.child = old
                return
            if old is not None:
                process.stop(old, part.stop_signal, part.grace)
                say("web", f"process {old.pid} is replaced")

    def _latest_answers(self) -> bool:
        """Wait until the process that was started last serves; an end of its pipe is its end."""
        if self._ready is None:
            return False
        told, _, _ = select.select([self._ready], [], [], READY_SECONDS)
        return bool(told) and os.read(self._ready, 1) == b"1"
