"""The database as a file and back, with the programs of Postgres itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.backup.archive import BackupError, NoDatabaseError
from app.settings import Settings
from app.stack import process
from app.stack.home import HomeLock, running_stack
from app.stack.postgres import Postgres, programs

TRANSACTION_TIMEOUT_SINCE = 17


def libpq(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


@contextmanager
def reachable(settings: Settings) -> Iterator[str]:
    """URL of the database: the given one, the running stack's, or HOME's started for a while.

    Raises:
        BackupError: there is none.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    stack = running_stack(settings.home)
    if stack is not None and stack.database_url:
        yield stack.database_url
        return
    if not (settings.home / "postgres").is_dir():
        raise NoDatabaseError(
            f"nothing to back up: {settings.home} holds no database. Set ACTIVEDPO_HOME to the "
            "stack's folder, or ACTIVEDPO_DATABASE_URL."
        )
    lock = HomeLock(settings.home)
    try:
        with started(settings.home) as postgres:
            yield postgres.url()
    finally:
        lock.release()


@contextmanager
def started(home: Path) -> Iterator[Postgres]:
    """The embedded Postgres of ``home``, running for as long as the context lasts."""
    postgres = Postgres(home)
    postgres.prepare()
    with open(os.devnull, "wb") as nowhere:
        child = postgres.start(nowhere)
    try:
        process.wait_until(postgres.ready, child, 60, "postgres")
        postgres.create()
        yield postgres
    finally:
        process.stop(child, postgres.stop_signal, 30)
        if postgres.sockets.parent != home:
            shutil.rmtree(postgres.sockets, ignore_errors=True)


def server_version(url: str) -> int:
    """Major version of the server."""
    with psycopg.connect(libpq(url), connect_timeout=10) as connection:
        return connection.info.server_version // 10000


def refuse_pool(url: str) -> None:
    """See that no pool lies between us and the server.

    pg_dump and psql set their session up, and a pool would hand that session on to others.

    Raises:
        BackupError: one does; the message says what to do.
    """
    with psycopg.connect(libpq(url), connect_timeout=10) as connection:
        (there,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        # a pool makes up the number that it greets with: it is none of the server's
        if there != connection.info.backend_pid:
            raise BackupError(
                "ACTIVEDPO_DATABASE_URL leads to a pool of connections (PgBouncer), whose "
                "connections this would spoil for others: name the server itself"
            )


def program(name: str, at_least: int) -> str:
    """``pg_dump`` or another program of Postgres, not older than the server.

    The wheel's, whose version was tested; a newer one of the system where the server is newer.

    Raises:
        BackupError: neither will do.
    """
    ours = programs() / name
    candidates = [str(ours)] if ours.exists() else []
    candidates += [found] if (found := shutil.which(name)) else []
    for candidate in candidates:
        if _major(candidate) >= at_least:
            return candidate
    raise BackupError(
        f"the server is Postgres {at_least} and no {name} here is that new: install "
        f"postgresql-client-{at_least}"
    )


def _major(path: str) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    found = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(found[1]) if found else 0


def _call(command: list[str], url: str) -> tuple[list[str], dict[str, str]]:
    """The command line without the password, which goes by the environment."""
    parts = conninfo_to_dict(libpq(url))
    secret = parts.pop("password", None)
    env = os.environ | ({"PGPASSWORD": str(secret)} if secret is not None else {})
    return [*command, f"--dbname={make_conninfo('', **parts)}"], env


def dump(url: str, snapshot: str, target: Path) -> None:
    """Write the database as it is in ``snapshot`` to ``target``.

    Raises:
        BackupError: pg_dump failed; with what it said.
    """
    refuse_pool(url)
    command = [program("pg_dump", server_version(url)), "--format=custom", f"--file={target}"]
    command += [f"--snapshot={snapshot}", "--no-owner", "--no-privileges", "--schema=public"]
    command, env = _call(command, url)
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        raise BackupError(f"pg_dump failed: {_last_line(ran.stderr)}")


def restore(url: str, source: Path) -> None:
    """Fill an empty database, in one transaction: all of it or nothing.

    Raises:
        BackupError: Postgres refused it; with what it said.
    """
    refuse_pool(url)
    version = server_version(url)
    script = source.with_suffix(".sql")
    flags = ["--no-owner", "--no-privileges", "--clean", "--if-exists", f"--file={script}"]
    read = [program("pg_restore", version), *flags, str(source)]
    ran = subprocess.run(read, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        raise BackupError(f"pg_restore failed: {_last_line(ran.stderr)}")
    try:
        if version < TRANSACTION_TIMEOUT_SINCE:
            _without(script, b"SET transaction_timeout")
        _run_script(url, version, script)
    finally:
        script.unlink(missing_ok=True)


def _run_script(url: str, version: int, script: Path) -> None:
    flags = ["--single-transaction", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"]
    command = [program("psql", version), *flags, f"--file={script}", "--output=/dev/null"]
    command, env = _call(command, url)
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        raise BackupError(
            f"the database was not restored and is as it was: {_last_line(ran.stderr)}"
        )


def _without(script: Path, start: bytes) -> None:
    """Drop the first line that begins with ``start``: an older server does not know it."""
    kept = script.with_suffix(".kept")
    with script.open("rb") as source, kept.open("wb") as sink:
        for line in source:
            if line.startswith(start):
                break
            sink.write(line)
        shutil.copyfileobj(source, sink)
    os.replace(kept, script)


def _last_line(said: str) -> str:
    lines = [line for line in said.strip().splitlines() if "ERROR" in line or "error" in line]
    return (lines or said.strip().splitlines() or ["it said nothing"])[0]


def filled_tables(url: str) -> list[str]:
    """Tables of the database that hold rows; Alembic's own mark does not count."""
    with psycopg.connect(libpq(url), connect_timeout=10) as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        ).fetchall()
        return [
            name
            for (name,) in found
            if name != "alembic_version"
            and connection.execute(
                sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(name))
            ).fetchone()
        ]
