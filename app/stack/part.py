"""A part of the stack: a process, its log, and when to start it again."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import Formatter, LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

from app.stack import process

FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS = 0.5, 30.0, 60.0
_stdout = threading.Lock()


def say(name: str, line: str) -> None:
    """Print a line of part ``name``; a terminal that is gone ends nothing."""
    text = f"{name:>8} | {line}\n"
    with _stdout:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (BrokenPipeError, ValueError, OSError):
            return


class Told(Protocol):
    """Where a part's lines go."""

    def line(self, text: str) -> None: ...
    def follow(self, child: subprocess.Popen[bytes]) -> None: ...


class Log:
    """Copies a part's output to the terminal and to HOME/logs/NAME.log (3 files of 10 MB)."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._file = RotatingFileHandler(folder / f"{name}.log", maxBytes=10_000_000, backupCount=2)
        self._file.setFormatter(Formatter("%(message)s"))

    def line(self, text: str) -> None:
        """Take one line."""
        say(self.name, text)
        self._file.emit(LogRecord(self.name, 20, "", 0, text, None, None))

    def follow(self, child: subprocess.Popen[bytes]) -> None:
        """Take the child's output until it ends, in a thread of its own."""
        threading.Thread(target=self._pump, args=(child,), daemon=True).start()

    def _pump(self, child: subprocess.Popen[bytes]) -> None:
        if child.stdout is None:
            return
        with child.stdout as stream:
            for line in stream:
                self.line(line.decode(errors="replace").rstrip())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Part:
    """One part: how to start it, how to end it, and what it has been through.

    ``on_death`` is called with the process id of a part that died by itself, before it is
    started again. ``once`` parts are not started again after exit code 0.
    """

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    log: Told
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 6.0
    once: bool = False
    on_death: Callable[[int], None] | None = None
    child: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    finished: bool = False
    started_at: float = 0.0
    start_at: float = field(default=0.0)

    def launch(self) -> None:
        """Start the process and follow its output."""
        self.child = self.start()
        self.started_at = time.monotonic()
        self.log.follow(self.child)

    def check(self) -> bool:
        """Look once: note a death, start again when its time has come. True if it was started."""
        now = time.monotonic()
        if self.child is not None and (code := self.child.poll()) is not None:
            self._died(self.child, code, now)
        if self.child is None and not self.finished and now >= self.start_at:
            self.launch()
            return True
        return False

    def _died(self, child: subprocess.Popen[bytes], code: int, now: float) -> None:
        process.kill_group(child, signal.SIGKILL)
        self.child = None
        if self.once and code == 0:
            self.finished = True
            return
        self.deaths = 1 if now - self.started_at > STEADY_SECONDS else self.deaths + 1
        delay = min(FIRST_DELAY * 2 ** (self.deaths - 1), LONGEST_DELAY)
        self.start_at = now + delay
        self.log.line(
            f"{self.name} (process {child.pid}) died: {exit_text(code)}; "
            f"it is started again in {delay:g} s"
        )
        if self.on_death is not None:
            self.on_death(child.pid)

    def end(self) -> None:
        """Stop the process, by force after its grace."""
        self.finished = True
        if self.child is not None:
            process.stop(self.child, self.stop_signal, self.grace)
            self.child = None


def exit_text(code: int) -> str:
    """Exit code in words: ``exit code 1`` or ``signal SIGKILL (exit code -9)``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name} (exit code {code})"
    except ValueError:
        return f"signal {-code} (exit code {code})"


def command_part(
    name: str,
    command: list[str],
    env: Mapping[str, str],
    log: Log,
    pass_fds: Sequence[int] = (),
) -> Part:
    """A part that is one of our own commands, with the environment as it is at each start."""

    def start() -> subprocess.Popen[bytes]:
        return process.start(command, env=env, output=subprocess.PIPE, pass_fds=pass_fds)

    return Part(name, start, log)
