"""Taking a backup of a stack, running or not."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from app import artifacts
from app.backup import archive, database
from app.backup.archive import BackupError, NoDatabaseError, Progress, Writer
from app.settings import Settings

KEPT = ("secrets/admin_password", "secrets/api_key", "demo.json")
"""Small files of HOME that a stack would miss, where they are there."""


@dataclass(frozen=True)
class Options:
    """What to leave out."""

    models: bool = True
    allow_missing: bool = False


@dataclass(frozen=True)
class Snapshot:
    """What belongs together: one moment of the database and the files it refers to."""

    name: str
    revision: str | None
    policies: list[tuple[str, dict[str, Any]]]
    base_models: list[str]
    rows: dict[str, int]


@dataclass(frozen=True)
class Taken:
    """What went into a backup."""

    size: int
    policies: int
    rows: dict[str, int]
    missing: list[str]


def take(settings: Settings, target: Path, options: Options, progress: Progress) -> Taken:
    """Write a backup of the stack of ``settings`` to ``target``.

    The database is dumped from one snapshot, and the policies are those of that snapshot: their
    folders never change once a policy refers to them, so people and workers go on meanwhile.

    Raises:
        BackupError: the target cannot be written, or a policy's file is missing or damaged.
    """
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no folder: make it first")
    try:
        with database.reachable(settings) as url, _snapshot(url) as snapshot:
            return _write(settings, url, snapshot, target, options, progress)
    except psycopg.OperationalError as error:
        raise NoDatabaseError(f"the database cannot be reached: {_first_line(error)}") from error
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror or error}") from error


def _write(
    settings: Settings,
    url: str,
    snapshot: Snapshot,
    target: Path,
    options: Options,
    progress: Progress,
) -> Taken:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as work:
        dumped = Path(work) / archive.DATABASE
        dumped.touch(mode=0o600)
        database.dump(url, snapshot.name, dumped)
        models = _models(settings, snapshot.base_models) if options.models else []
        stored = [facts["size"] for _, files in snapshot.policies for facts in files.values()]
        sizes = [dumped.stat().st_size, *stored, *(file.stat().st_size for _, file in models)]
        progress.total(sum(sizes))
        with archive.written(target, progress.advance) as writer:
            _add_file(writer, archive.DATABASE, dumped)
            os.unlink(dumped)
            _add_small_files(writer, settings)
            for name, file in models:
                _add_file(writer, f"models/{name}", file)
            missing = _add_policies(writer, snapshot, options.allow_missing)
            writer.seal(_facts(settings, snapshot, missing))
    size = target.stat().st_size
    return Taken(size, len(snapshot.policies), snapshot.rows, missing)


def _facts(settings: Settings, snapshot: Snapshot, missing: list[str]) -> dict[str, Any]:
    return {
        "activedpo": version("activedpo"),
        "taken_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "revision": snapshot.revision,
        "artifacts": settings.artifacts_url.partition("?")[0].rpartition("@")[2],
        "rows": snapshot.rows,
        "missing": missing,
    }


def _add_file(writer: Writer, name: str, file: Path) -> None:
    with file.open("rb") as source:
        writer.add(name, source, os.fstat(source.fileno()).st_size)


def _add_small_files(writer: Writer, settings: Settings) -> None:
    writer.add_bytes(archive.SECRET_KEY, settings.signing_key().encode())
    for name in KEPT:
        if (settings.home / name).is_file():
            _add_file(writer, name, settings.home / name)


def _models(settings: Settings, names: list[str]) -> list[tuple[str, Path]]:
    """Files of the base models that projects use and HOME holds: (name, file)."""
    found = []
    for name in names:
        folder = settings.models_dir / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not folder.is_dir():
            continue
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        found += [(f"{name}/{file.relative_to(folder).as_posix()}", file) for file in files]
    return found


def _add_policies(writer: Writer, snapshot: Snapshot, allow_missing: bool) -> list[str]:
    missing = []
    for path, files in snapshot.policies:
        for name, facts in files.items():
            try:
                _add_stored(writer, path, name, facts)
            except FileNotFoundError:
                if not allow_missing:
                    raise BackupError(
                        f"{path}/{name} is not in the artefact store: find it, or leave such "
                        "files out with --allow-missing"
                    ) from None
                missing.append(f"{path}/{name}")
    return missing


def _add_stored(writer: Writer, path: str, name: str, facts: dict[str, Any]) -> None:
    with artifacts.open_file(path, name) as source:
        digest = writer.add(f"artifacts/{path}/{name}", source, facts["size"])
        if digest != facts["sha256"] or source.read(1):
            raise BackupError(
                f"{path}/{name} is damaged in the artefact store: bring back the folder from an "
                "earlier backup, then take this one again"
            )


@contextmanager
def _snapshot(url: str) -> Iterator[Snapshot]:
    with psycopg.connect(database.libpq(url), connect_timeout=10) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        name = _one(connection, "SELECT pg_export_snapshot()")
        if _one(connection, "SELECT to_regclass('public.alembic_version')") is None:
            raise BackupError("the database has no tables yet: there is nothing to back up")
        policies = connection.execute(
            "SELECT path, files FROM policies WHERE path IS NOT NULL ORDER BY path"
        ).fetchall()
        models = connection.execute("SELECT DISTINCT base_model FROM projects ORDER BY 1")
        yield Snapshot(
            name=str(name),
            revision=_one(connection, "SELECT version_num FROM alembic_version"),
            policies=[(path, dict(files)) for path, files in policies],
            base_models=[base for (base,) in models.fetchall()],
            rows=_counts(connection),
        )
        connection.rollback()


def _counts(connection: psycopg.Connection) -> dict[str, int]:
    tables = ("projects", "people", "prompts", "pairs", "preferences", "rounds", "policies")
    return {
        name: _one(connection, f"SELECT count(*) FROM {name}")  # noqa: S608 - names of our own
        for name in tables
    }


def _one(connection: psycopg.Connection, query: Any) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
