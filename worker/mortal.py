"""Processes that never outlive who started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process when the process ``parent`` ends, however that comes about."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def be_first_when_memory_ends() -> None:
    """Let the kernel take this process, which can be replaced, and not Postgres or the worker."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("600")


def _watch(parent: int) -> None:
    # Linux counts the end of the parent's *thread*; other systems have no such signal at all
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
