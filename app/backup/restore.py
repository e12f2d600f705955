"""Restoring a backup into an empty HOME or an empty database: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import psycopg

from app.backup import archive, database
from app.backup.archive import Backup, BackupError, NoDatabaseError, Progress
from app.backup.take import KEPT
from app.settings import Settings
from app.stack.home import HomeLock, make_private, write_private

STAGING, MOVING = ".restoring", "moving"
HARMLESS = {"models", "downloads", "run", "logs", "cache", STAGING}
"""What may be in a HOME that counts as empty: it holds nothing of anybody's data."""

RELEASE_RUNS = (
    "UPDATE runs SET state = 'queued', lease_owner = NULL, lease_expires_at = NULL "
    "WHERE state = 'running'"
)
"""Workers of the backed-up stack do not hold runs of this one."""


@dataclass(frozen=True)
class Restored:
    """What came back, and what the operator should know."""

    facts: dict[str, Any]
    warnings: list[str]


def restore(settings: Settings, file: Path, progress: Progress) -> Restored:
    """Bring a backup back.

    Without a database URL: into HOME, which must be empty, with a Postgres of its own that is
    started for it and stopped again. With one: into that database, which must be empty, and the
    configured artefact store. The file is read and checked to its end before anything is written.

    Raises:
        BackupError: file or target will not do; nothing was changed.
        HomeInUseError: a stack runs on HOME.
    """
    if file.is_file():
        progress.total(2 * file.stat().st_size)
    backup = Backup(file, progress.advance)
    _check_revision(backup)
    try:
        if settings.database_url is None:
            _into_home(settings, backup, progress)
        else:
            _into_database(settings, settings.database_url, backup, progress)
    except psycopg.OperationalError as error:
        first = str(error).strip().splitlines()[0]
        raise NoDatabaseError(f"the database cannot be reached: {first}") from error
    return Restored(backup.facts, _warnings(settings, backup))


def _check_revision(backup: Backup) -> None:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    from app import migrate

    try:
        ScriptDirectory.from_config(migrate.config()).get_revision(backup.facts["revision"])
    except CommandError:
        raise BackupError(
            f"{backup.file} was written by a newer version (schema {backup.facts['revision']}): "
            f"install ActiveDPO {backup.facts['activedpo']} or newer"
        ) from None


def _warnings(settings: Settings, backup: Backup) -> list[str]:
    told = [f"not in the backup: {name}" for name in backup.facts["missing"]]
    given = settings.secret_key
    if given is not None and given.get_secret_value() != backup.text(archive.SECRET_KEY):
        told.append(
            "ACTIVEDPO_SECRET_KEY is another one than the backup's: unset it (the backup's is in "
            "HOME/secret_key), or stored oracle keys cannot be read"
        )
    return told


def _into_home(settings: Settings, backup: Backup, progress: Progress) -> None:
    home = settings.home
    with ExitStack() as held:
        lock = HomeLock(home)
        held.callback(lock.release)
        _clear_unfinished(home)
        _check_empty(home)
        staging = make_private(home / STAGING)
        held.callback(shutil.rmtree, staging, ignore_errors=True)
        _unpack_small_files(staging, backup)
        _unpack_models(home, backup, progress)
        if settings.artifacts is None:
            _unpack_artifacts((staging / "artifacts").as_uri(), backup, progress)
        else:
            undo = _unpack_artifacts(settings.artifacts, backup, progress)
            held.callback(lambda: None if (home / "postgres").is_dir() else undo())
        with database.started(staging) as postgres:
            _load(postgres.url(), backup, staging, progress)
        _move_in(staging, home)


def _clear_unfinished(home: Path) -> None:
    """Take away what a restore left that was killed: HOME was empty before it."""
    staging = home / STAGING
    if (staging / MOVING).exists():
        for name in (staging / MOVING).read_text().split("\n"):
            _remove(home / name)
    _remove(staging)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_empty(home: Path) -> None:
    there = sorted(item.name for item in home.iterdir() if item.name not in HARMLESS)
    if there:
        raise BackupError(
            f"{home} is not empty (it holds {', '.join(there[:5])}): restore into an empty folder, "
            "e.g. ACTIVEDPO_HOME=/path/to/new. Nothing was changed."
        )


def _move_in(staging: Path, home: Path) -> None:
    """Make HOME what was prepared beside it; the database comes last."""
    names = sorted(item.name for item in staging.iterdir() if item.name not in ("run", "models"))
    write_private(staging / MOVING, "\n".join(names))
    for name in sorted(names, key=lambda name: name == "postgres"):
        os.rename(staging / name, home / name)
    (staging / MOVING).unlink()


def _into_database(settings: Settings, url: str, backup: Backup, progress: Progress) -> None:
    filled = database.filled_tables(url)
    if filled:
        raise BackupError(
            f"the database is not empty (rows in {', '.join(filled[:5])}): restore into an empty "
            "one. Nothing was changed."
        )
    home = make_private(settings.home)
    secret = home / archive.SECRET_KEY
    if secret.exists() and secret.read_text().strip() != backup.text(archive.SECRET_KEY):
        raise BackupError(
            f"{secret} is another stack's secret key: move it away, or set ACTIVEDPO_HOME to an "
            "empty folder. Nothing was changed."
        )
    with ExitStack() as held:
        undo = _unpack_artifacts(settings.artifacts_url, backup, progress)
        held.callback(undo)
        work = Path(tempfile.mkdtemp(dir=home, prefix=f"{STAGING}-"))
        held.callback(shutil.rmtree, work, ignore_errors=True)
        _unpack_models(home, backup, progress)
        _load(url, backup, work, progress)
        _unpack_small_files(home, backup)
        held.pop_all()
        shutil.rmtree(work, ignore_errors=True)


def _load(url: str, backup: Backup, work: Path, progress: Progress) -> None:
    dumped = work / archive.DATABASE
    with backup.open(archive.DATABASE) as source, dumped.open("wb") as sink:
        _copy(source, sink, progress)
    database.restore(url, dumped)
    dumped.unlink()
    with psycopg.connect(database.libpq(url), connect_timeout=10) as connection:
        connection.execute(RELEASE_RUNS)


def _unpack_small_files(home: Path, backup: Backup) -> None:
    for name in (archive.SECRET_KEY, *KEPT):
        if name in backup.entries and not (home / name).exists():
            write_private(home / name, backup.text(name))


def _unpack_models(home: Path, backup: Backup, progress: Progress) -> None:
    """Base models that HOME does not have yet; a file that is there stays as it is."""
    for name in backup.below("models"):
        if (home / name).exists():
            continue
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}-part")
        with backup.open(name) as source, partial.open("wb") as sink:
            _copy(source, sink, progress)
        os.replace(partial, target)


def _unpack_artifacts(url: str, backup: Backup, progress: Progress) -> Callable[[], None]:
    """Put every policy's files into the store at ``url``; what it gives back takes them out.

    Raises:
        BackupError: another file is there already.
    """
    fs, root = fsspec.core.url_to_fs(url)
    put: list[str] = []

    def undo() -> None:
        for path in put:
            fs.rm(path)

    try:
        for name in backup.below("artifacts"):
            target = f"{root.rstrip('/')}/{name.removeprefix('artifacts/')}"
            if fs.exists(target):
                _same_or_refuse(fs, target, backup.entries[name])
                continue
            fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            put.append(target)
            with backup.open(name) as source, fs.open(target, "wb") as sink:
                _copy(source, sink, progress)
    except BaseException:
        undo()
        raise
    return undo


def _same_or_refuse(fs: Any, target: str, facts: dict[str, Any]) -> None:
    if fs.size(target) != facts["size"]:
        raise BackupError(
            f"the artefact store has another {target} already: set ACTIVEDPO_ARTIFACTS to an "
            "empty folder or bucket. Nothing was changed."
        )


def _copy(source: Any, sink: Any, progress: Progress) -> None:
    for chunk in iter(lambda: source.read(archive.CHUNK), b""):
        sink.write(chunk)
        progress.advance(len(chunk))
