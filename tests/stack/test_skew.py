"""Code and database of two versions: nobody works on what they do not know."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session

from app import migrate, skew
from app.main import create_app
from app.projects.models import Project
from app.rounds import runs
from app.rounds.models import Round, Run
from tests.stack.test_cli import _run
from worker import task

NEWER, OLDER = "9999", "0001"


@pytest.fixture
def at(database: Engine) -> Iterator[object]:
    """Makes the database say that it is at another revision."""
    head = migrate.head()

    def say(revision: str | None) -> None:
        skew.forget()
        with database.begin() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
            if revision is not None:
                connection.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": revision})

    yield say
    say(head)


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["beat"], ["user", "add", "a@b.c"]])
@pytest.mark.parametrize(
    ("revision", "words"),
    [(NEWER, "newer version"), (OLDER, "activedpo migrate"), (None, "no tables")],
)
def test_no_part_starts_on_another_versions_database(at, command, revision, words) -> None:
    at(revision)
    ran = _run(*command)
    assert ran.returncode == 1
    assert words in ran.stderr
    assert (revision or "") in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_older_version_migrates_nothing(at, database: Engine) -> None:
    at(NEWER)
    ran = _run("migrate")
    assert ran.returncode == 1
    assert "newer version" in ran.stderr
    assert migrate.current(database) == NEWER


@pytest.mark.parametrize("revision", [NEWER, OLDER])
def test_a_web_server_that_runs_on_answers_503_and_works_again_later(at, revision) -> None:
    client = TestClient(create_app(), raise_server_exceptions=False)
    client.headers["Authorization"] = "Bearer a-key-that-nobody-has"
    assert client.get("/api/v1/me").status_code == 401
    at(revision)
    refused = client.get("/api/v1/me")
    assert (refused.status_code, refused.json()["title"]) == (503, "Not available")
    assert revision in refused.json()["detail"]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    at(migrate.head())
    assert client.get("/api/v1/me").status_code == 401


def _waiting(db: Session) -> uuid.UUID:
    project = Project(name="p", base_model="m", batch_size=2)
    db.add(project)
    db.flush()
    round = Round(project_id=project.id, number=1, needed=2, state="generating")
    db.add(round)
    db.flush()
    run = Run(project_id=project.id, round_id=round.id, kind="generate")
    db.add(run)
    db.commit()
    return run.id


@pytest.mark.parametrize("revision", [NEWER, OLDER])
def test_a_worker_that_runs_on_takes_nothing(at, db: Session, revision) -> None:
    run_id = _waiting(db)
    at(revision)
    with pytest.raises(skew.SkewError, match=revision):
        runs.take(db, "host:1:x", 60, ["generate"])
    db.rollback()
    assert db.get_one(Run, run_id, populate_existing=True).state == "queued"
    db.rollback()
    at(migrate.head())
    assert runs.take(db, "host:1:x", 60, ["generate"]) is not None


def test_a_wake_up_call_is_refused_without_an_error_of_celery(at, capsys) -> None:
    called: list[str] = []
    wrapped = task.task(lambda *args: called.append("worked"))
    at(NEWER)
    wrapped("id")
    assert called == []
    assert "work_refused" in capsys.readouterr().out
    at(migrate.head())
    wrapped("id")
    assert called == ["worked"]


def test_a_migration_interrupted_half_way_is_carried_on(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each revision is a transaction of its own: what was done stands, and the next try goes on."""
    url = make_empty(environment["ACTIVEDPO_DATABASE_URL"], "half_way")
    engine = create_engine(url, poolclass=NullPool)
    migrate.upgrade(engine, "0004")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE set_asides (id int)"))  # 0007 will stumble over it
        connection.commit()
    with pytest.raises(Exception, match="set_asides"):
        migrate.upgrade(engine)
    assert migrate.current(engine) == "0006"
    with engine.connect() as connection, pytest.raises(skew.SkewError, match="activedpo migrate"):
        skew.check(connection)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE set_asides"))
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()


def make_empty(url: str, name: str) -> str:
    """A database beside the test's own, with nothing in it."""
    from sqlalchemy import make_url

    from app.database import sqlalchemy_url

    here = make_url(sqlalchemy_url(url))
    with create_engine(here, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as admin:
        admin.execute(text(f"DROP DATABASE IF EXISTS {name}_{here.database}"))
        admin.execute(text(f"CREATE DATABASE {name}_{here.database}"))
    return here.set(database=f"{name}_{here.database}").render_as_string(hide_password=False)
