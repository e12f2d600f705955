"""HOME: its lock, its secrets, and what is known of the stack that runs on it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing NUL included
SOCKET_PATH_BYTES = 103


class HomeInUseError(Exception):
    """Another stack runs on this HOME."""


class HomeLock:
    """Held by the one supervisor of a HOME; the kernel lets go when it dies, however it dies."""

    def __init__(self, home: Path) -> None:
        """Take the lock.

        Raises:
            HomeInUseError: another process holds it; the message names its process id.
        """
        make_private(home)
        path = make_private(home / "run") / "lock"
        self._file = open(path, "a+")  # noqa: SIM115 - held open for the life of the stack
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise HomeInUseError(
                f"{home} is in use by another ActiveDPO (process {holder}). "
                "Stop that one, or set ACTIVEDPO_HOME to another folder."
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let go of HOME."""
        self._file.close()


def make_private(folder: Path) -> Path:
    """Make ``folder`` for its owner only; parents that exist keep their modes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    make_private(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def secret(home: Path, name: str) -> str:
    """The secret ``name`` of this HOME, made at first use (HOME/secrets, 0600)."""
    path = home / "secrets" / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def socket_folder(home: Path, name: str) -> Path:
    """A private folder for a socket called ``name``: HOME/run, or a short one if that is too deep.

    The short one is made anew, so nobody can have laid one there beforehand.
    """
    make_private(home)
    folder = make_private(home / "run")
    if len(os.fsencode(folder / name)) <= SOCKET_PATH_BYTES:
        return folder
    return Path(tempfile.mkdtemp(prefix="activedpo-"))


@dataclass
class StackState:
    """What runs on a HOME, kept in HOME/run/stack.json (0600, it holds passwords)."""

    supervisor: int
    database_url: str
    redis_url: str
    address: str
    socket_folder: str | None = None
    pids: dict[str, int] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)

    def save(self, home: Path) -> None:
        """Write it, whole or not at all."""
        write_private(home / "run" / "stack.json", json.dumps(asdict(self)))


def load_state(home: Path) -> StackState | None:
    """What the last stack on ``home`` wrote, whether it still runs or not."""
    try:
        return StackState(**json.loads((home / "run" / "stack.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def running_stack(home: Path) -> StackState | None:
    """The stack that runs on ``home`` now, if one does."""
    if not (home / "run" / "lock").exists():
        return None
    try:
        HomeLock(home).release()
    except HomeInUseError:
        return load_state(home)
    return None


def forget_state(home: Path) -> None:
    """Remove what a finished stack left outside and inside HOME/run."""
    state = load_state(home)
    if state is not None and state.socket_folder:
        folder = Path(state.socket_folder)
        if folder.name.startswith("activedpo-"):
            shutil.rmtree(folder, ignore_errors=True)
    (home / "run" / "stack.json").unlink(missing_ok=True)
