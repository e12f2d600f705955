"""The parent's end of the child process that owns the accelerator."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

import orjson
import structlog

log = structlog.get_logger()


class CrashedError(Exception):
    """The child died, or met an error that nobody foresaw: worth another attempt."""


class RefusedError(Exception):
    """The work cannot be done as asked; the message says what to do about it."""


class Accelerator:
    """A warm child process that does one run at a time.

    It is started at first use, kept between runs with its model loaded, and replaced when it
    died. One thread runs work; any thread may :meth:`kill`. The thread that started the child
    must live as long as the process: Linux counts the thread's end as the parent's death.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._ended = False
        self.clock: dict[str, Any] = {}
        """How long the last run took in the child, by stage (seconds); its memory (bytes)."""

        self.device: dict[str, Any] = {}
        """What the child runs on: name, model, bytes of memory; empty until it has started."""

    @property
    def pid(self) -> int | None:
        """Process id of the living child."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and alive else None

    def run(self, kind: str, work: bytes, progress: Callable[[dict[str, Any]], None]) -> bytes:
        """Do ``work`` (JSON) in the child; its outcome as JSON.

        Args:
            kind: which job.
            progress: called with the child's ``{"stage", "done", "total", "checkpoint"}``.

        Raises:
            CrashedError: the child died or failed unexpectedly.
            RefusedError: it says why the work cannot be done.
        """
        pipe = self._started()
        try:
            pipe.send_bytes(orjson.dumps({"kind": kind}))
            pipe.send_bytes(work)
            while True:
                message = orjson.loads(pipe.recv_bytes())
                if "device" in message:
                    self.device = message["device"]
                elif "progress" in message:
                    progress(message["progress"])
                elif "done" in message:
                    self.clock = message["done"]
                    return pipe.recv_bytes()
                else:
                    if message.get("over"):  # it ends with these words
                        self.close()
                    raise _failure(message)
        except (EOFError, OSError) as error:
            raise CrashedError(self._obituary()) from error

    def kill(self) -> None:
        """End the child at once, whatever it does."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def wind_down(self) -> None:
        """Ask the child to end a training behind a checkpoint, other work at once; start no other.

        A child that takes too long is the caller's to :meth:`end`.
        """
        self._ended = True
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()

    def end(self) -> None:
        """Kill the child for good: no other is started."""
        self._ended = True
        self.kill()

    def close(self) -> None:
        """Kill the child and wait for its end."""
        self.kill()
        if self._process is not None:
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _started(self) -> Connection:
        if self.pid is not None and self._pipe is not None:
            return self._pipe
        self.close()
        if self._ended:
            raise CrashedError("the worker is stopping")
        ours, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    sys.executable,
                    "-m",
                    "worker.child",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
            )
        self._pipe = ours
        log.info("child_started", child=self._process.pid)
        return ours

    def _obituary(self) -> str:
        assert self._process is not None, "only a started child can die"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.returncode
        log.warning("child_died", child=self._process.pid, exit_code=code)
        if code == -signal.SIGKILL:
            return (
                "the process on the accelerator was killed (signal 9), as the system does when "
                "memory runs out: a smaller model, batch or max_new_tokens needs less"
            )
        return f"the process on the accelerator ended with exit code {code}"


def _failure(message: dict[str, Any]) -> Exception:
    kind = RefusedError if message.get("final") else CrashedError
    return kind(message["failed"])
