"""Named places at which tests end or hold up a process; nothing happens anywhere else.

Only where ``ACTIVEDPO_FAULTS`` names a folder: a file ``NAME.kill`` in it makes the next process
that comes to ``point("NAME")`` kill itself, once; ``NAME.memory`` makes it find no memory, once;
``NAME.hold`` makes it write ``NAME.held`` and wait until that is gone. So a test says where a fault
strikes and never has to sleep and hope.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_FOLDER = os.environ.get("ACTIVEDPO_FAULTS")


def point(name: str) -> None:
    """A place where a fault may strike; costs a comparison where none is wanted."""
    if _FOLDER is not None:
        _strike(Path(_FOLDER), name)


def _strike(folder: Path, name: str) -> None:
    if _claimed(folder / f"{name}.kill", folder / f"{name}.killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if _claimed(folder / f"{name}.memory", folder / f"{name}.starved"):
        raise MemoryError
    held = folder / f"{name}.held"
    if _claimed(folder / f"{name}.hold", held):
        while held.exists():
            time.sleep(0.02)


def _claimed(wanted: Path, mark: Path) -> bool:
    """Whether this process is the one that the fault strikes: renaming succeeds once."""
    try:
        os.rename(wanted, mark)
    except FileNotFoundError:
        return False
    return True
