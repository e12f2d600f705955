"""A database that is crowded, deadlocked or slow: a 503 that says so, and the same call later is
taken once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.exc import OperationalError

from app.backup.database import libpq
from app.database import get_engine, transaction
from app.labelling.models import Preference
from app.main import create_app
from app.people import actions as people
from app.people import throttle
from app.people.models import Person
from app.rounds import runs
from app.rounds.models import Round, Run
from tests.labelling.conftest import World, make_world
from worker import device


@pytest.fixture
def asking(
    database: Engine, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Makes this process ask the database by another address from now on."""

    def use(url: str) -> None:
        monkeypatch.setenv("ACTIVEDPO_DATABASE_URL", url)
        forget()

    yield use
    monkeypatch.undo()
    forget()


@pytest.fixture
def claimed(database: Engine) -> tuple[World, TestClient, str]:
    """A world with a claim of Ann's, her client, and the call that answers it."""
    throttle._shared.cache_clear()
    it = make_world(2)
    it.open()
    claim = it.claim("ann")[0].claim.id
    with transaction() as s:
        _, secret = people.add_key(s, s.get_one(Person, it.person("ann")), "annotator")
    client = TestClient(create_app(), raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {secret}"
    return it, client, f"/api/v1/claims/{claim}/preference"


def refused(answer: Any) -> None:
    assert (answer.status_code, answer.json()["title"]) == (503, "Not available")
    assert answer.headers["Retry-After"] == "1"
    assert "nothing was stored" in answer.json()["detail"]
    assert "psycopg" not in answer.text


def taken_once(client: TestClient, call: str) -> None:
    assert client.post(call, json={"choice": "left"}).status_code == 201
    with transaction() as s:
        assert len(s.scalars(select(Preference.id)).all()) == 1


@contextmanager
def few_connections(engine: Engine, name: str) -> Iterator[str]:
    """The address of the same database for a role that may connect once."""
    url = engine.url
    with engine.begin() as c:
        c.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'crowded' CONNECTION LIMIT 1"))
        c.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"))
        c.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}"))
    try:
        other = make_url(url).set(username=name, password="crowded")
        yield other.render_as_string(hide_password=False)
    finally:
        with engine.begin() as c:
            c.execute(text(f"DROP OWNED BY {name}"))
            c.execute(text(f"DROP ROLE {name}"))
        engine.dispose()


def test_postgres_out_of_connections(claimed: Any, asking: Any, environment: Any) -> None:
    _, client, call = claimed
    engine = get_engine()
    with few_connections(engine, f"crowded_{uuid.uuid4().hex[:8]}") as url, ExitStack() as stack:
        asking(url)
        other = stack.enter_context(psycopg.connect(libpq(url)))
        refused(client.post(call, json={"choice": "left"}))
        page = client.get("/projects", headers={"Accept": "text/html"})
        assert page.status_code == 503 or page.url.path == "/sign-in"
        other.close()
        taken_once(client, call)
        get_engine().dispose()


def test_a_deadlock(claimed: Any) -> None:
    it, client, call = claimed
    answers: list[Any] = []
    with transaction() as s:
        s.execute(text("SET LOCAL deadlock_timeout = '30s'"))  # so that the call is the victim
        s.execute(text("SELECT 1 FROM pairs FOR UPDATE"))
        caller = threading.Thread(
            target=lambda: answers.append(client.post(call, json={"choice": "left"}))
        )
        caller.start()
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        )
        while not s.scalar(waiting):  # it holds the round and waits for the pair
            pass
        s.execute(text("SELECT 1 FROM rounds FOR UPDATE"))
        caller.join(30)
        s.rollback()
    refused(answers[0])
    taken_once(client, call)
    assert it.round().answered == 1


def test_a_statement_that_takes_too_long(claimed: Any, asking: Any, environment: Any) -> None:
    _, client, call = claimed
    url = environment["ACTIVEDPO_DATABASE_URL"]
    between = "&" if "?" in url else "?"
    with psycopg.connect(libpq(url)) as holder:
        holder.execute("SELECT 1 FROM rounds FOR UPDATE")
        asking(f"{url}{between}options=-c%20statement_timeout%3D300")
        refused(client.post(call, json={"choice": "left"}))
    taken_once(client, call)


def test_a_worker_asks_again_until_the_database_answers(
    claimed: Any, asking: Any, environment: Any
) -> None:
    it, _, _ = claimed
    with transaction() as s:
        round = s.scalars(select(Round)).one()
        s.add(Run(project_id=it.project.id, round_id=round.id, kind="generate", shard=9))
    with transaction() as s:
        run = runs.take(s, "host:1:x", 60, ["generate"])
    assert run is not None
    url = environment["ACTIVEDPO_DATABASE_URL"]
    tries: list[str] = []

    def write(session: Any, mine: Run) -> None:
        tries.append("in")
        mine.output = {"written": True}

    with psycopg.connect(libpq(url)) as holder:
        holder.execute("SELECT 1 FROM runs FOR UPDATE")
        asking(f"{url}{'&' if '?' in url else '?'}options=-c%20statement_timeout%3D200")
        stopped = device._under_hold.retry_with(stop=lambda state: state.attempt_number >= 2)
        with pytest.raises(OperationalError):
            stopped(run, write)
        assert tries == []
        later = threading.Timer(0.5, holder.rollback)
        later.start()
        device._under_hold(run, write)
        later.join()
    assert tries == ["in"]
    with transaction() as s:
        assert s.get_one(Run, run.id).output == {"written": True}
