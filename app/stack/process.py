"""A child process in a group of its own that never outlives this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

LAUNCH = Path(__file__).with_name("launch.py")


class PartFailedError(Exception):
    """A part of the stack ended before it was ready."""


def start(
    command: Sequence[str],
    *,
    data: Path | None = None,
    on_parent_death: signal.Signals = signal.SIGKILL,
    env: Mapping[str, str] | None = None,
    output: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start ``command`` in its own process group; it gets ``on_parent_death`` if this one dies.

    Call it from the main thread: Linux counts the end of the thread that started a child as the
    parent's death. ``data`` names the folder of a program that refuses to run as root;
    ``pass_fds`` are open files and sockets that it gets under the same numbers.
    """
    launch = [sys.executable, "-I", "-S", str(LAUNCH), "--parent", str(os.getpid())]
    launch += ["--signal", str(int(on_parent_death))]
    if data is not None:
        launch += ["--data", str(data)]
    return subprocess.Popen(  # noqa: S603
        [*launch, "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        pass_fds=pass_fds,
        env=dict(env) if env is not None else None,
    )


def kill_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process and everything in its group; no matter if they have ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def stop(process: subprocess.Popen[bytes], number: signal.Signals, grace: float) -> int:
    """Ask it to end by signal ``number``; after ``grace`` seconds kill it and all below it.

    Returns its exit code.
    """
    below = descendants(process.pid)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    kill_group(process, signal.SIGKILL)
    for child in below:  # those that made a group of their own
        with contextlib.suppress(psutil.Error):
            child.kill()
    return process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below ``pid``; what psutil kills later is these and no reused numbers."""
    try:
        return psutil.Process(pid).children(recursive=True)  # type: ignore[no-any-return]
    except psutil.Error:
        return []


def born(pid: int) -> float:
    """When the process started, in seconds since 1970; 0 where it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def see_off(pids: Iterable[tuple[int, float]], seconds: float = 10) -> None:
    """Wait until the processes that started at these times have ended; kill what is left then."""
    left = [psutil.Process(pid) for pid, birth in pids if birth and born(pid) == birth]
    deadline = time.monotonic() + seconds
    while (left := [one for one in left if _alive(one)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in left:
        with contextlib.suppress(psutil.Error):
            one.kill()


def _alive(one: psutil.Process) -> bool:
    # A zombie has ended; in a container its new parent may never ask for its exit code
    try:
        return bool(one.is_running() and one.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float, name: str
) -> None:
    """Wait until ``ready`` says so.

    Raises:
        PartFailedError: the process ended first, or it took longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise PartFailedError(f"{name} ended with exit code {process.returncode} at its start")
        if time.monotonic() > deadline:
            raise PartFailedError(f"{name} was not ready after {seconds:.0f} s")
        time.sleep(0.05)
