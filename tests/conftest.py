"""Real Postgres and Redis for every test that asks: one pair of servers a run, one database a
test process, emptied before each test that uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from argon2 import PasswordHasher
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from app.people import passwords
from app.stack import process
from app.stack.home import secret
from app.stack.postgres import Postgres
from app.stack.redis import Redis
from tests import leaks

for _name in [name for name in os.environ if name.startswith("ACTIVEDPO_")]:
    del os.environ[_name]  # a developer's own settings must not reach the tests

os.environ.setdefault("HF_HUB_OFFLINE", "1")
TEMPLATE = "template_migrated"


@dataclass
class Servers:
    """The two servers of a run, with HOME of the throw-away stack they belong to."""

    home: Path
    postgres: subprocess.Popen[bytes]
    redis: subprocess.Popen[bytes]
    redis_port: int

    @property
    def addresses(self) -> dict[str, str | int]:
        """What a test process of the same run needs to reach them."""
        return {"home": str(self.home), "redis_port": self.redis_port}


def _start_servers() -> Servers:
    home = Path(tempfile.mkdtemp(prefix="adpo-test-"))
    postgres, broker = Postgres(home, durable=False), Redis(home)
    postgres.prepare()
    broker.prepare()
    with open(home / "servers.log", "wb") as log:
        servers = Servers(home, postgres.start(log), broker.start(log), broker.port)
    process.wait_until(postgres.ready, servers.postgres, 30, "postgres")
    process.wait_until(broker.ready, servers.redis, 30, "redis")
    return servers


def _stop_servers(servers: Servers) -> None:
    process.stop(servers.postgres, Postgres.stop_signal, 10)
    process.stop(servers.redis, Redis.stop_signal, 10)
    shutil.rmtree(servers.home, ignore_errors=True)


_running: list[Servers] = []


def _servers() -> Servers:
    if not _running:
        _running.append(_start_servers())
    return _running[0]


class _OneRun:
    """Under xdist the controlling process starts the servers and tells the workers."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        node.workerinput["servers"] = _servers().addresses  # type: ignore[attr-defined]


def pytest_configure(config: pytest.Config) -> None:
    # The tests make hundreds of people: a weak hash in this process, the real one in the stack's
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    config.pluginmanager.register(_OneRun())
    config.pluginmanager.register(leaks)


def pytest_unconfigure() -> None:
    while _running:
        _stop_servers(_running.pop())


def forget_caches() -> None:
    """Make this process read its settings anew and connect anew."""
    from app import database, jobs, settings

    if database.get_engine.cache_info().currsize:
        database.get_engine().dispose()
    for cached in (settings.get_settings, database.get_engine, database._factory, jobs._broker):
        cached.cache_clear()


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Call it after changing the environment: settings and connections are made anew.

    Afterwards they are once more, by when ``monkeypatch`` has put the environment back, if the
    test names ``monkeypatch`` after this fixture.
    """
    yield forget_caches
    forget_caches()


def _make_database(postgres: Postgres, name: str) -> None:
    """Make database ``name`` as a copy of one that the migrations built."""
    from app import migrate

    with open(postgres.home / "template.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test process builds, the others copy
        postgres.create(TEMPLATE)
        engine = create_engine(postgres.url(TEMPLATE), poolclass=NullPool)
        migrate.upgrade(engine)
        postgres.create(name, TEMPLATE)


@pytest.fixture(scope="session")
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a stack whose database and broker are this test process's own.

    It is set in ``os.environ``, so settings read here and child processes see the same.
    """
    given = getattr(request.config, "workerinput", {}).get("servers") or _servers().addresses
    home, port = Path(given["home"]), given["redis_port"]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    postgres = Postgres(home)
    _make_database(postgres, f"test_{worker}")
    values = {
        "ACTIVEDPO_DATABASE_URL": postgres.url(f"test_{worker}"),
        "ACTIVEDPO_REDIS_URL": f"redis://:{secret(home, 'redis')}@127.0.0.1:{port}/{worker[2:]}",
        "ACTIVEDPO_HOME": str(tmp_path_factory.mktemp("home")),
        "ACTIVEDPO_SECRET_KEY": f"{leaks.PLANTED}: a key for tests, long enough to sign with",
    }
    for name in ("postgres", "redis"):
        leaks.know(secret(home, name))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        forget_caches()
        yield values
    forget_caches()


@pytest.fixture
def database(environment: dict[str, str]) -> Engine:
    """The migrated database of this test process, with no rows in it; commits are real."""
    import app.models  # noqa: F401  (fills the metadata)
    from app.database import Base, get_engine

    engine = get_engine()
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND state = 'idle in transaction'"
            )
        )
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        # without the triggers of foreign keys: an eighth of the time that TRUNCATE takes
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in Base.metadata.sorted_tables:
            connection.execute(text(f'DELETE FROM "{table.name}"'))
    with redis.Redis.from_url(environment["ACTIVEDPO_REDIS_URL"]) as client:
        client.flushdb()
    return engine


@pytest.fixture
def db(database: Engine) -> Iterator[Session]:
    """A session on the empty database; what the test leaves uncommitted is rolled back."""
    with sessionmaker(database, expire_on_commit=False)() as session:
        yield session


@pytest.fixture
def redis_url(environment: dict[str, str], database: Engine) -> str:
    """The broker of this test process, with nothing in it."""
    return environment["ACTIVEDPO_REDIS_URL"]
