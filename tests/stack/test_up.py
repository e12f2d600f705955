"""``activedpo up``: parts come back, ends leave nothing, a second start carries on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy.orm import Session

from app.models import Project, Round, Run

pytestmark = pytest.mark.timeout(240)


def _ask(stack: Any, path: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.port}{path}",
        headers={"Authorization": f"Bearer {stack.printed('API key')}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def _ended(family: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(family, timeout=20)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def _held_run(session: Session, owner: str) -> Run:
    project = Project(name="held", base_model="any")
    session.add(project)
    session.flush()
    turn = Round(project_id=project.id, number=1, needed=1, state="training")
    session.add(turn)
    session.flush()
    run = Run(
        project_id=project.id, round_id=turn.id, kind="train", state="running", lease_owner=owner
    )
    session.add(run)
    session.commit()
    return run


def test_the_key_it_prints_opens_the_api(stack: Any) -> None:
    assert stack.printed("ActiveDPO") == f"http://127.0.0.1:{stack.port}"
    assert stack.printed("sign in as")
    assert stack.printed("password")
    assert _ask(stack, "/api/v1/projects") == 200
    kept = list((stack.home / "secrets").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    logs = "".join(path.read_text() for path in (stack.home / "logs").iterdir())
    assert not [path.name for path in kept if path.read_text().strip() in logs]


def test_the_head_of_a_request_has_an_end(stack: Any) -> None:
    """Whoever sends no end of headers is told so, and nothing of it is kept."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=20) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Much: ")
        answer = b""
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                line.sendall(b"a" * 16_384)
            while piece := line.recv(65_536):
                answer += piece
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert _ask(stack, "/api/v1/projects") == 200


def test_a_part_that_dies_comes_back_and_its_holds_are_freed(stack: Any) -> None:
    stack.printed("API key")
    engine = create_engine(stack.state["database_url"], poolclass=NullPool)
    pid = stack.state["pids"]["worker"]
    with Session(engine) as session:
        run = _held_run(session, f"{socket.gethostname()}:{pid}:1")
        os.kill(pid, signal.SIGKILL)
        stack.wait_for(lambda: stack.state["pids"].get("worker", pid) != pid, "a new worker")
        assert f"worker (process {pid}) died: signal SIGKILL (exit code -9)" in stack.output
        session.rollback()
        owner = session.scalar(select(Run.lease_owner).where(Run.id == run.id))
        assert owner is None or f":{pid}:" not in owner

    for name in ("web", "postgres", "redis"):
        old = stack.state["pids"][name]
        os.kill(old, signal.SIGKILL)
        stack.wait_for(lambda n=name, p=old: stack.state["pids"].get(n, p) != p, f"a new {name}")
    stack.wait_for(lambda: _answers(stack), "the web server back")


def _answers(stack: Any) -> bool:
    try:
        return _ask(stack, "/api/v1/projects") == 200
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(start: Any, number: signal.Signals) -> None:
    stack = start()
    stack.printed("API key")
    family = stack.family()
    assert len(family) > 5
    assert stack.end(number) == 0
    assert _ended(family)
    assert not (stack.home / "run" / "stack.json").exists()


def test_killing_the_supervisor_leaves_no_orphans(start: Any) -> None:
    stack = start()
    stack.printed("API key")
    family = stack.family()
    stack.end(signal.SIGKILL)
    assert _ended(family)


def test_a_second_start_carries_on(start: Any) -> None:
    first = start()
    key = first.printed("API key")
    engine = create_engine(first.state["database_url"], poolclass=NullPool)
    with Session(engine) as session:
        _held_run(session, "someone-else:1:1")
    first.end(signal.SIGKILL)

    second = start()
    assert second.printed("API key") == key
    engine = create_engine(second.state["database_url"], poolclass=NullPool)
    with Session(engine) as session:
        assert session.scalars(select(Project.name)).all() == ["held"]


def test_a_home_in_use_and_a_taken_port_are_told_apart(
    stack: Any, start: Any, tmp_path: Path
) -> None:
    stack.printed("API key")

    same_home = start(home=stack.home)
    assert same_home.ended() == 4
    assert f"in use by another ActiveDPO (process {stack.process.pid})" in same_home.output

    same_port = start(home=tmp_path / "other", port=stack.port)
    assert same_port.ended() == 4
    assert f"Port {stack.port} on 127.0.0.1 is taken" in same_port.output
    assert not (tmp_path / "other" / "postgres").exists()


def test_given_servers_and_credentials_are_used(start: Any, environment: dict[str, str]) -> None:
    given = {name: environment[f"ACTIVEDPO_{name}_URL"] for name in ("DATABASE", "REDIS")}
    stack = start(
        ACTIVEDPO_DATABASE_URL=given["DATABASE"],
        ACTIVEDPO_REDIS_URL=given["REDIS"],
        ACTIVEDPO_ADMIN_EMAIL="boss@example.com",
        ACTIVEDPO_ADMIN_PASSWORD="a password that was given",
        ACTIVEDPO_API_KEY="a-key-of-twenty-characters",
    )
    assert stack.printed("sign in as") == "boss@example.com"
    assert _ask(stack, "/api/v1/projects") == 200
    assert set(stack.state["pids"]) <= {"web", "worker", "beat"}
    assert not (stack.home / "postgres").exists()
