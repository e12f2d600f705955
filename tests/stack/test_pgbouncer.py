"""PgBouncer in transaction mode before Postgres, and two web servers behind it."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Engine, make_url

from activedpo.testing import tiny_model
from app.backup.database import libpq
from app.stack import process
from app.stack.redis import free_port
from tests.driver import Visitor, wait_until
from tests.stack.parts import EMAIL, KEY, PASSWORD, Parts
from tests.stack.test_skew import make_empty

pytestmark = [
    pytest.mark.timeout(280),
    pytest.mark.skipif(
        shutil.which("pgbouncer") is None and not Path("/usr/sbin/pgbouncer").exists(),
        reason="there is no pgbouncer: apt-get install pgbouncer",
    ),
]
CONNECTIONS = 4
"""To the server, for all parts together: nobody has one to itself."""


class Pooled:
    """A database and the way to it through PgBouncer."""

    def __init__(self, direct: str, folder: Path, closing: ExitStack) -> None:
        self.direct, self.port = direct, free_port()
        url = make_url(direct)
        folder.mkdir()
        (folder / "users.txt").write_text(f'"{url.username}" "{url.password}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users.txt",
            "pool_mode": "transaction",
            "default_pool_size": CONNECTIONS,
            "max_client_conn": 400,
        }
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={url.query['host']}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        log = closing.enter_context((folder / "log").open("wb"))
        # it refuses to run as root, as Postgres does
        started = process.start([program, str(folder / "pgbouncer.ini")], data=folder, output=log)
        closing.callback(process.stop, started, signal.SIGINT, 5)
        self.url = url.set(host="127.0.0.1", port=self.port, query={}).render_as_string(
            hide_password=False
        )
        process.wait_until(self._ready, started, 30, "pgbouncer")

    def _ready(self) -> bool:
        try:
            psycopg.connect(libpq(self.url), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def advisory_locks(self) -> list[tuple[int, ...]]:
        """Those that are held now, whoever holds them."""
        query = "SELECT objid, pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        with psycopg.connect(libpq(self.direct)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def pooled(environment: dict[str, str], database: Engine, tmp_path: Path) -> Iterator[Pooled]:
    """An empty database behind PgBouncer."""
    direct = make_empty(environment["ACTIVEDPO_DATABASE_URL"], "pooled")
    with ExitStack() as closing:
        yield Pooled(direct, tmp_path / "pool", closing)


@pytest.fixture
def parts(pooled: Pooled, tmp_path: Path) -> Iterator[Parts]:
    """Parts that know the pool alone."""
    with ExitStack() as closing:
        yield Parts(tmp_path, closing, ACTIVEDPO_DATABASE_URL=pooled.url)


def test_a_whole_round_behind_a_pool_of_transactions(
    pooled: Pooled, parts: Parts, tmp_path: Path
) -> None:
    for name in ("migrate", "again"):  # a lock that stayed behind would stop the second one
        assert parts.start(name, "migrate").wait(120) == 0, parts.log(name)
    assert pooled.advisory_locks() == []

    other = free_port()
    parts.start("web", "serve")
    parts.start("other", "serve", ACTIVEDPO_PORT=str(other))
    parts.start("worker", "worker")
    parts.start("beat", "beat")
    here, there = (Visitor(f"http://127.0.0.1:{port}", KEY) for port in (parts.port, other))
    project = here.project(tiny_model(tmp_path / "tiny"))
    said: dict[str, str] = {}
    round_id = here.open_round(project)
    here.wait_for(round_id, "labelling")

    seen: list[str] = []
    watching = threading.Thread(target=watch, args=(other, round_id, seen))
    watching.start()
    wait_until(lambda: any("0 of 4" in line for line in seen), "the page to be there", 60)
    here.label_round(project, round_id, said)  # in one process, told by the other
    wait_until(lambda: any("4 of 4" in line for line in seen), "the other server to tell", 60)
    there.wait_for(round_id, "done")
    watching.join(30)
    assert seen[-1] == "the stream ended"

    assert {p["id"]: p["choice"] for p in there.everything(f"/projects/{project}/preferences")} == (
        said
    )
    assert pooled.advisory_locks() == []
    assert here.server_errors == there.server_errors == []
    for name in ("web", "other", "worker"):
        assert "prepared statement" not in parts.log(name)
    with psycopg.connect(libpq(pooled.direct)) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        (used,) = connection.execute(query).fetchone() or (0,)
    assert used <= CONNECTIONS + 1, "the parts share the pool's connections"
    assert parts.start("backup", "backup", str(tmp_path / "b.tar")).wait(60) == 1
    assert "a pool of connections" in parts.log("backup")
    past = {"ACTIVEDPO_DATABASE_URL": pooled.direct}
    assert parts.start("past", "backup", str(tmp_path / "b.tar"), **past).wait(60) == 0


def watch(port: int, round_id: str, seen: list[str]) -> None:
    """A browser that has a round's page open at one of the web servers."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
        who = {"email": EMAIL, "password": PASSWORD}
        assert http.post("/api/v1/sign-in", json=who).status_code == 200
        with http.stream("GET", f"/rounds/{round_id}/events") as stream:
            seen.extend(stream.iter_lines())
    seen.append("the stream ended")
