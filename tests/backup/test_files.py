"""What a backup's file must be to be restored, and what a target must be."""

from __future__ import annotations

import io
import os
import random
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from app import artifacts
from app.backup import archive
from app.backup.archive import Backup, BackupError, Progress
from app.backup.restore import restore
from app.backup.take import Options, take
from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Project
from app.settings import Settings, get_settings
from app.stack.postgres import Postgres

QUIET = Progress()


@pytest.fixture
def filled(database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A database with a project and a stored policy, and a HOME of its own."""
    monkeypatch.setenv("ACTIVEDPO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "adapter.safetensors").write_bytes(os.urandom(200_000))
    with transaction() as session:
        project = Project(name="letters", base_model="some/model")
        session.add(project)
        session.flush()
        files = artifacts.put_folder(tmp_path / "trained", "projects/1/rounds/1/train-1")
        session.add(
            Policy(
                project_id=project.id,
                number=1,
                kind="adapter",
                base_model="some/model",
                path="projects/1/rounds/1/train-1",
                files=files,
            )
        )
    model = tmp_path / "home" / "models" / "some" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def backup(filled: Settings, tmp_path: Path) -> Path:
    """A good backup of it."""
    file = tmp_path / "good.tar"
    take(filled, file, Options(), QUIET)
    return file


@pytest.fixture
def other(environment: dict[str, str], tmp_path: Path) -> Any:
    """Settings of an external database with nothing in it, and another HOME."""
    url = environment["ACTIVEDPO_DATABASE_URL"]
    server = Path(url.partition("host=")[2]).parent
    postgres = Postgres(server)
    engine = create_engine(
        postgres.url("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    name = f"restored_{os.getpid()}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    yield Settings(database_url=postgres.url(name), home=tmp_path / "other", secret_key=None)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _projects(settings: Settings) -> list[str]:
    engine = create_engine(str(settings.database_url), poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM projects")))


def _tables(settings: Settings) -> int:
    engine = create_engine(str(settings.database_url), poolclass=NullPool)
    query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def _untouched(settings: Settings) -> bool:
    left = [item for item in settings.home.rglob("*") if item.is_file()]
    return _tables(settings) == 0 and left == []


def test_into_an_external_database_and_store(
    backup: Path, other: Settings, environment: dict[str, str]
) -> None:
    restored = restore(other, backup, QUIET)
    assert _projects(other) == ["letters"]
    stored = other.home / "artifacts/projects/1/rounds/1/train-1/adapter.safetensors"
    assert stored.stat().st_size == 200_000
    assert (other.home / "models/some/model/config.json").read_text() == "{}"
    assert (other.home / "secret_key").read_text() == environment["ACTIVEDPO_SECRET_KEY"]
    assert restored.facts["rows"]["policies"] == 1
    with pytest.raises(BackupError, match=r"database is not empty \(rows in policies, projects\)"):
        restore(other, backup, QUIET)


def test_a_database_that_was_only_migrated_counts_as_empty(backup: Path, other: Settings) -> None:
    from app import migrate

    migrate.upgrade(create_engine(str(other.database_url), poolclass=NullPool))
    restore(other, backup, QUIET)
    assert _projects(other) == ["letters"]


def test_another_stacks_secret_key_is_not_overwritten(backup: Path, other: Settings) -> None:
    other.home.mkdir()
    (other.home / "secret_key").write_text("another")
    with pytest.raises(BackupError, match="another stack's secret key"):
        restore(other, backup, QUIET)
    assert _tables(other) == 0


def test_a_changed_byte_anywhere_is_found(backup: Path, other: Settings, tmp_path: Path) -> None:
    good = backup.read_bytes()
    with tarfile.open(backup) as tar:
        places = [info.offset_data + info.size // 2 for info in tar]
        places += [info.offset + 3 for info in tar]
    draw = random.Random(0)
    places += [draw.randrange(places[-1]) for _ in range(20)]
    wholes = []
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 0x41
        file = tmp_path / "bad.tar"
        file.write_bytes(bad)
        with suppress(BackupError):
            wholes.append(Backup(file))  # padding, or a header's field that nobody reads
    assert len(wholes) < len(places) / 3
    entries = Backup(backup).entries
    assert all(whole.entries == entries for whole in wholes)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_restores_nothing(
    backup: Path, other: Settings, tmp_path: Path, kept: float
) -> None:
    whole = backup.read_bytes().rstrip(b"\0")
    file = tmp_path / "short.tar"
    file.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(BackupError, match="damaged or was cut off"):
        restore(other, file, QUIET)
    assert _untouched(other)


def test_other_files_are_told_to_be_none(other: Settings, tmp_path: Path) -> None:
    for content in (b"", b"hello", b"\x1f\x8b" + bytes(600), bytes(10_240)):
        file = tmp_path / "other.bin"
        file.write_bytes(content)
        with pytest.raises(BackupError, match="no ActiveDPO backup"):
            restore(other, file, QUIET)
    with pytest.raises(BackupError, match="there is no such file"):
        restore(other, tmp_path / "none", QUIET)
    assert _untouched(other)


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "artifacts/../../escaped"])
def test_an_entry_that_leads_out_is_refused(
    backup: Path, other: Settings, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "evil.tar"
    with archive.written(file) as writer:
        writer.add_bytes(archive.DATABASE, b"dump")
        writer.add_bytes(name, b"evil")
        writer.seal({"activedpo": "0.1.0", "revision": "0001", "missing": []})
    with pytest.raises(BackupError, match="leads out"):
        restore(other, file, QUIET)
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_in_it_is_refused(other: Settings, tmp_path: Path) -> None:
    file = tmp_path / "link.tar"
    with tarfile.open(file, "w") as tar:
        first = tarfile.TarInfo(archive.DATABASE)
        tar.addfile(first, io.BytesIO())
        link = tarfile.TarInfo("artifacts/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BackupError, match="not a plain file"):
        restore(other, file, QUIET)


def test_a_newer_schema_is_refused(backup: Path, other: Settings, tmp_path: Path) -> None:
    file = tmp_path / "newer.tar"
    with archive.written(file) as writer:
        writer.add_bytes(archive.DATABASE, b"dump")
        writer.add_bytes(archive.SECRET_KEY, b"key")
        writer.seal({"activedpo": "9.0.0", "revision": "9999", "missing": []})
    with pytest.raises(BackupError, match=r"newer version.*install ActiveDPO 9.0.0"):
        restore(other, file, QUIET)


def test_a_restore_that_postgres_refuses_leaves_nothing(other: Settings, tmp_path: Path) -> None:
    file = tmp_path / "nonsense.tar"
    with archive.written(file) as writer:
        writer.add_bytes(archive.DATABASE, b"PGDMP nonsense")
        writer.add_bytes(archive.SECRET_KEY, b"key")
        writer.add_bytes("artifacts/projects/1/file", b"weights")
        writer.seal({"activedpo": "0.1.0", "revision": "0001", "missing": [], "rows": {}})
    with pytest.raises(BackupError, match="pg_restore failed"):
        restore(other, file, QUIET)
    assert _untouched(other)
    home = Settings(database_url=None, home=tmp_path / "embedded")
    with pytest.raises(BackupError, match="pg_restore failed"):
        restore(home, file, QUIET)
    assert {item.name for item in home.home.iterdir()} <= {"run"}


def test_a_lost_or_damaged_policy_is_named(filled: Settings, tmp_path: Path) -> None:
    stored = filled.home / "artifacts/projects/1/rounds/1/train-1/adapter.safetensors"
    whole = stored.read_bytes()
    stored.chmod(0o600)
    stored.write_bytes(whole[:-1] + b"!")
    with pytest.raises(BackupError, match=r"train-1/adapter\.safetensors is damaged"):
        take(filled, tmp_path / "b.tar", Options(), QUIET)
    stored.write_bytes(whole[:-1])
    with pytest.raises(BackupError, match="is shorter than"):
        take(filled, tmp_path / "b.tar", Options(), QUIET)
    stored.unlink()
    with pytest.raises(BackupError, match="--allow-missing"):
        take(filled, tmp_path / "b.tar", Options(), QUIET)
    assert not (tmp_path / "b.tar").exists()
    assert not list(tmp_path.glob(".b.tar*"))
    taken = take(filled, tmp_path / "b.tar", Options(allow_missing=True), QUIET)
    assert taken.missing == ["projects/1/rounds/1/train-1/adapter.safetensors"]


def test_only_a_backup_is_overwritten(filled: Settings, backup: Path, tmp_path: Path) -> None:
    take(filled, backup, Options(), QUIET)
    letter = tmp_path / "letter.txt"
    letter.write_text("dear diary")
    with pytest.raises(BackupError, match="exists and is no ActiveDPO backup"):
        take(filled, letter, Options(), QUIET)
    assert letter.read_text() == "dear diary"
    with pytest.raises(BackupError, match="is no folder"):
        take(filled, tmp_path / "none" / "b.tar", Options(), QUIET)


def test_what_a_killed_restore_left_is_cleared_away(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "again"
    staging = home / ".restoring"
    (staging / "postgres").mkdir(parents=True)
    (home / "artifacts").mkdir()
    (staging / "moving").write_text("artifacts\npostgres")
    restore(Settings(database_url=None, home=home), backup, QUIET)
    assert (home / "postgres" / "PG_VERSION").exists()
    assert not staging.exists()


def test_without_models_and_with_the_right_facts(filled: Settings, tmp_path: Path) -> None:
    take(filled, tmp_path / "b.tar", Options(models=False), QUIET)
    whole = Backup(tmp_path / "b.tar")
    assert whole.below("models") == []
    assert whole.facts["rows"]["projects"] == 1
