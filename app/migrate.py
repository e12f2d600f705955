"""Alembic, called from Python: upgrade, downgrade, and is the database up to date."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from app.errors import Conflict

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    cfg = Config()
    cfg.set_main_option("script_location", str(SCRIPTS))
    cfg.set_main_option("path_separator", "os")
    return cfg


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to ``revision``; a lock keeps two starts from racing.

    Raises:
        Conflict: a newer version of the code has migrated it.
    """
    # A lock of a transaction, which PgBouncer leaves on one connection of the server: the lock of a
    # session would stay behind on whichever connection happened to take it.
    with engine.connect() as watch, engine.connect() as connection:
        watch.exec_driver_sql("SELECT pg_advisory_xact_lock(4711002)")
        cfg = config()
        cfg.attributes["connection"] = connection
        _known(connection, cfg)
        command.upgrade(cfg, revision)
        connection.commit()


def _known(connection: Connection, cfg: Config) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    connection.commit()
    scripts = ScriptDirectory.from_config(cfg)
    if found is not None and found not in {s.revision for s in scripts.walk_revisions()}:
        raise Conflict(
            f"The database is at revision {found}, which this version of ActiveDPO (at "
            f"{scripts.get_current_head()}) does not know: a newer version has migrated it. "
            "Start that version, or restore the backup from before its upgrade."
        )


def head() -> str | None:
    """The newest revision this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head()


def current(engine: Engine) -> str | None:
    """The revision the database is at."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
