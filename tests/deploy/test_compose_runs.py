"""What docker-compose.yml starts, as plain processes: same commands, environment and order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from sqlalchemy import Engine

from activedpo.testing import tiny_model
from app.stack import process
from app.stack.redis import free_port
from tests.driver import Visitor, wait_until
from tests.stack.test_skew import make_empty

pytestmark = pytest.mark.timeout(280)
ROOT = Path(__file__).parents[2]
KEY = "a-key-of-twenty-characters"
GIVEN = {
    "POSTGRES_PASSWORD": "p",
    "REDIS_PASSWORD": "r",
    "ACTIVEDPO_SECRET_KEY": "a key for tests that is long enough to sign with",
    "ACTIVEDPO_ADMIN_EMAIL": "you@example.com",
    "ACTIVEDPO_ADMIN_PASSWORD": "a password of the test",
    "ACTIVEDPO_API_KEY": KEY,
}
"""What somebody puts into .env by the page, and the key that it says is optional."""


def interpolated(value: str) -> str:
    """``${NAME:-default}`` and ``${NAME:?why}`` as Compose reads them."""

    def found(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3] or ""
        if GIVEN.get(name):
            return GIVEN[name]
        assert kind != ":?", f"{name}: {rest}"
        return rest

    return re.sub(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}", found, value)


class Composed:
    """The services of the file; the servers it would start are those of the tests."""

    def __init__(self, database: str, broker: str, home: Path, closing: ExitStack) -> None:
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
            "services"
        ]
        self.port, self._closing, self._home = free_port(), closing, home
        self._database, self._broker = database, broker

    def environment(self, service: str) -> dict[str, str]:
        """A service's, on this machine: where the servers are is all that differs."""
        told = {k: interpolated(v) for k, v in self.services[service]["environment"].items()}
        assert urlsplit(told["ACTIVEDPO_DATABASE_URL"]).hostname == "postgres"
        assert urlsplit(told["ACTIVEDPO_REDIS_URL"]).hostname == "redis"
        plain = {k: v for k, v in os.environ.items() if not k.startswith("ACTIVEDPO_")}
        return plain | told | {
            "ACTIVEDPO_DATABASE_URL": self._database,
            "ACTIVEDPO_REDIS_URL": self._broker,
            "ACTIVEDPO_HOME": str(self._home),  # the volume
            "ACTIVEDPO_PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start a service once what it waits for is as it wants it."""
        wanted = self.services[service]
        command = [interpolated(word) for word in wanted["command"]]
        started = process.start(
            [sys.executable, "-m", "app.cli", *command], env=self.environment(service)
        )
        self._closing.callback(process.stop, started, signal.SIGTERM, 20)
        return started

    def healthy(self, service: str) -> bool:
        """What its health check says, as it is written there."""
        kind, program, *arguments = self.services[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        asked = [word.replace(":8000/", f":{self.port}/") for word in arguments]
        ran = subprocess.run([sys.executable, *asked], capture_output=True, check=False)
        return ran.returncode == 0


@pytest.fixture
def composed(environment: dict[str, str], database: Engine, tmp_path: Path) -> Iterator[Composed]:
    """On an empty database."""
    empty = make_empty(environment["ACTIVEDPO_DATABASE_URL"], "composed")
    with ExitStack() as closing:
        yield Composed(empty, environment["ACTIVEDPO_REDIS_URL"], tmp_path / "data", closing)


def test_the_services_of_the_file_do_a_round(composed: Composed, tmp_path: Path) -> None:
    for name in ("web", "worker", "beat"):
        waits = composed.services[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
    assert composed.start("migrate").wait(120) == 0
    assert not composed.healthy("web")
    for name in ("web", "worker", "beat"):
        composed.start(name)
    wait_until(lambda: composed.healthy("web"), "the web's health check", 120)
    visitor = Visitor(f"http://127.0.0.1:{composed.port}", KEY)
    project = visitor.project(tiny_model(tmp_path / "tiny"))
    said: dict[str, str] = {}
    visitor.a_round(project, said)
    assert len(said) == 4
    assert (tmp_path / "data" / "artifacts").is_dir(), "policies lie in the volume"
