"""Parts of ActiveDPO as plain processes, as they run on several hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from app.stack import process
from app.stack.redis import free_port
from tests.faults.harness import QUICK, Faults

KEY = "a-key-of-twenty-characters"
EMAIL, PASSWORD = "admin@example.com", "a password of the test"


class Parts:
    """On the test's database, unless ``more`` says otherwise; all end with ``closing``."""

    def __init__(self, folder: Path, closing: ExitStack, **more: str) -> None:
        self.folder, self._closing = folder, closing
        self.port = free_port()
        self.faults = Faults(folder / "faults")
        self.env = os.environ | QUICK | {
            "ACTIVEDPO_PORT": str(self.port),
            "ACTIVEDPO_ADMIN_EMAIL": EMAIL,
            "ACTIVEDPO_ADMIN_PASSWORD": PASSWORD,
            "ACTIVEDPO_API_KEY": KEY,
            "ACTIVEDPO_ARTIFACTS": (folder / "store").as_uri(),
            **more,
        }  # fmt: skip

    @property
    def address(self) -> str:
        """Of the site."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """A part with a log of its own."""
        log = self._closing.enter_context((self.folder / f"{name}.log").open("wb"))
        started = process.start(
            [sys.executable, "-m", "app.cli", *arguments], env=self.env | more, output=log
        )
        self._closing.callback(process.stop, started, signal.SIGTERM, 20)
        return started

    def log(self, name: str) -> str:
        """What a part has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")
