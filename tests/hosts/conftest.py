"""A server with Postgres, Redis, S3 and the web, and two hosts with a worker each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from activedpo.testing import tiny_model
from app.stack import process
from app.stack.home import secret
from app.stack.postgres import Postgres
from app.stack.redis import Redis
from tests.driver import Visitor, wait_until
from tests.faults.harness import QUICK, Faults
from tests.hosts.namespaces import SERVER, Network, NotAllowedError

KEY = "a-key-of-twenty-characters"
PORT, S3_PORT = 8000, 5000


@dataclass
class Lab:
    """The hosts and what runs on them."""

    network: Network
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    here: str = ""
    """The database by its socket, which needs no network."""

    closing: ExitStack = field(default_factory=ExitStack)
    faults: dict[str, Faults] = field(default_factory=dict)
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, host: str, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a program on a host; it ends with the lab."""
        log = self.closing.enter_context((self.folder / f"{name}.log").open("ab"))
        with self.network.inside(host):
            started = process.start(command, env=self.environment | more, output=log)
        self.closing.callback(process.stop, started, signal.SIGTERM, 8)
        return started

    def activedpo(self, host: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a part of ActiveDPO on a host, with a HOME of that host."""
        faults = self.faults.setdefault(host, Faults(self.folder / f"faults-{host}"))
        own = {"ACTIVEDPO_HOME": str(self.folder / f"home-{host}"), **faults.environment(), **more}
        command = [sys.executable, "-m", "app.cli", *arguments]
        return self.run(host, f"{host}-{arguments[0]}", *command, **own)

    def log(self, name: str) -> str:
        """What a part has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


def _postgres(lab: Lab) -> str:
    postgres = Postgres(lab.folder / "server", durable=False)
    postgres.prepare()
    with (postgres.data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/16 scram-sha-256\n")
    log = lab.closing.enter_context((lab.folder / "postgres.log").open("wb"))
    command = [*postgres.command(), "-c", f"listen_addresses={SERVER}"]
    with lab.network.inside("server"):
        started = process.start(command, data=postgres.data, output=log)
    lab.closing.callback(process.stop, started, Postgres.stop_signal, 10)
    process.wait_until(postgres.ready, started, 60, "postgres")
    postgres.create()
    lab.here = postgres.url()
    return f"postgresql://activedpo:{secret(postgres.home, 'postgres')}@{SERVER}/activedpo"


def _redis(lab: Lab) -> str:
    broker = Redis(lab.folder / "server")
    broker.prepare()
    lab.run("server", "redis", *broker.command(), "--bind", SERVER, "--port", "6379")
    return f"redis://:{secret(broker.home, 'redis')}@{SERVER}:6379/0"


def _s3(lab: Lab) -> dict[str, str]:
    command = [sys.executable, "-m", "moto.server", "-H", SERVER, "-p", str(S3_PORT)]
    lab.run("server", "s3", *command)
    address = f"http://{SERVER}:{S3_PORT}"
    with lab.network.inside("server"):
        wait_until(lambda: _answers(f"{address}/moto-api/"), "the S3 server", 120)
        httpx.put(f"{address}/policies").raise_for_status()  # the bucket
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "ACTIVEDPO_ARTIFACTS": "s3://policies/here",
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything up; skipped where namespaces are not allowed, and only there."""
    try:
        network = Network("left", "right")
    except NotAllowedError as error:
        pytest.skip(f"no network namespaces here: {error}")
    made = Lab(network, tmp_path_factory.mktemp("hosts"))
    with made.closing as closing:
        closing.callback(network.close)
        plain = {k: v for k, v in os.environ.items() if not k.startswith("ACTIVEDPO_")}
        made.environment = plain | {"ACTIVEDPO_DATABASE_URL": _postgres(made), **QUICK}
        made.environment |= {
            "ACTIVEDPO_REDIS_URL": _redis(made),
            **_s3(made),
            "ACTIVEDPO_SECRET_KEY": "a key for tests that is long enough to sign with",
            "ACTIVEDPO_ADMIN_EMAIL": "admin@example.com",
            "ACTIVEDPO_ADMIN_PASSWORD": "a password of the lab",
            "ACTIVEDPO_API_KEY": KEY,
            "ACTIVEDPO_SHARD_PROMPTS": "4",
            "ACTIVEDPO_HOST": SERVER,
            "ACTIVEDPO_PORT": str(PORT),
        }
        assert made.activedpo("server", "migrate").wait(120) == 0, made.log("server-migrate")
        made.activedpo("server", "serve")
        made.activedpo("server", "beat")
        for host in ("left", "right"):
            made.workers[host] = made.activedpo(host, "worker")
        yield made


@pytest.fixture
def visitor(lab: Lab) -> Iterator[Visitor]:
    """Somebody at the server, for as long as the test lasts."""
    with lab.network.inside("server"):
        yield Visitor(f"http://{SERVER}:{PORT}", KEY)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny chat model: a base model lies on every host."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")
