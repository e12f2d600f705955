"""A whole stack of its own for a test: ``activedpo up`` as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.stack.redis import free_port

Start = Callable[..., "Stack"]


class Stack:
    """A running ``activedpo up``: its output, its processes, its state file."""

    def __init__(self, home: Path, port: int, **more: str) -> None:
        plain = {key: v for key, v in os.environ.items() if not key.startswith("ACTIVEDPO_")}
        self.home, self.port = home, port
        self.env = plain | {"ACTIVEDPO_HOME": str(home), "ACTIVEDPO_PORT": str(port)} | more
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            self.lines.extend(iter(stream.readline, ""))

    @property
    def output(self) -> str:
        """What was printed so far."""
        return "".join(self.lines)

    @property
    def state(self) -> dict[str, Any]:
        """HOME/run/stack.json."""
        return json.loads((self.home / "run" / "stack.json").read_text())

    def printed(self, label: str) -> str:
        """The value printed behind ``label`` in the banner."""
        self.wait_for(lambda: any(f"| {label}" in line for line in self.lines), label)
        line = next(line for line in self.lines if f"| {label}" in line)
        return line.split(label, 1)[1].strip()

    def wait_for(self, true: Callable[[], Any], what: str, seconds: float = 90) -> None:
        """Wait until ``true()``; fail with the output so far."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{what} did not happen; output:\n{self.output}")
            time.sleep(0.05)

    def family(self) -> list[psutil.Process]:
        """Every process below the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; gives the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(120)
        self._reader.join(10)
        return code


def still_there(processes: list[psutil.Process], seconds: float = 15) -> list[psutil.Process]:
    """Those that have not ended; a zombie nobody reaps yet has."""

    def alive(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if alive(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


@contextlib.contextmanager
def stacks(folder: Path) -> Iterator[Start]:
    """Starts stacks, by default on the same HOME, and ends what a failing test left."""
    started: list[Stack] = []

    def _start(home: Path = folder / "home", port: int | None = None, **more: str) -> Stack:
        started.append(Stack(home, port or free_port(), **more))
        return started[-1]

    try:
        yield _start
    finally:
        for stack in started:
            if stack.process.poll() is None:
                family = stack.family()
                stack.end(signal.SIGKILL)
                still_there(family)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts stacks of this test."""
    with stacks(tmp_path) as starter:
        yield starter


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that leave it running."""
    with stacks(tmp_path_factory.mktemp("shared")) as starter:
        yield starter()
