"""Web processes and workers replaced one by one, while people label and a round trains."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine, text

from activedpo.testing import tiny_model
from app.stack import process
from app.stack.redis import free_port
from tests.driver import Visitor, wait_until
from tests.stack.parts import EMAIL, KEY, PASSWORD, Parts

pytestmark = pytest.mark.timeout(280)
STEPS = 12


@pytest.fixture
def parts(database: Engine, tmp_path: Path) -> Iterator[Parts]:
    """None of them runs yet."""
    with ExitStack() as closing:
        yield Parts(tmp_path, closing)


class Clients:
    """People who label without a pause, and note everything that did not go as it should."""

    def __init__(self, address: str, project: str, count: int) -> None:
        self.dropped: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._label, args=(address, project)) for _ in range(count)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _label(self, address: str, project: str) -> None:
        auth = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=f"{address}/api/v1", headers=auth, timeout=60) as http:
            while not self._stop.is_set():
                try:
                    claimed = http.post(f"/projects/{project}/claims", json={"count": 1})
                    self._expect(claimed, 200)
                    for claim in claimed.json()["items"]:
                        said = {"choice": "left"}
                        given = http.post(f"/claims/{claim['id']}/preference", json=said)
                        self._expect(given, 201)
                        self.answered += given.status_code == 201
                except (httpx.TransportError, ValueError, KeyError) as error:
                    self.dropped.append(f"{type(error).__name__}: {error}")

    def _expect(self, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            self.dropped.append(f"{answer.status_code} {answer.text[:200]}")


def labelling_project(visitor: Visitor) -> str:
    """A project whose pairs need no model: it is open at once."""
    wanted = {"name": "pairs", "source": "imported", "acquisition": "random", "batch_size": 4000}
    project: str = visitor.post("/projects", wanted)["id"]
    pairs = [
        {"prompt": f"p {n}", "completion_a": f"a {n}", "completion_b": f"b {n}"}
        for n in range(4000)
    ]
    visitor.post(f"/projects/{project}/pairs", {"pairs": pairs})
    visitor.wait_for(visitor.open_round(project), "labelling")
    return project


def watch(address: str, round_id: str, ended: list[str]) -> threading.Thread:
    """A browser that has a round's page open; notes how its stream ended."""
    who = {"email": EMAIL, "password": PASSWORD}

    def look() -> None:
        with httpx.Client(base_url=address, timeout=60) as http:
            assert http.post("/api/v1/sign-in", json=who).status_code == 200
            try:
                with http.stream("GET", f"/rounds/{round_id}/events") as stream:
                    ended.append(f"began {stream.status_code}")
                    for _ in stream.iter_lines():
                        pass
                ended.append("in good order")
            except httpx.TransportError as error:
                ended.append(type(error).__name__)

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@pytest.mark.parametrize("host", ["the same host", "another host"])
def test_nothing_is_dropped_and_no_step_is_lost(
    parts: Parts, database: Engine, host: str, tmp_path: Path
) -> None:
    homes = {"the same host": tmp_path / "one", "another host": tmp_path / "two"}
    web = parts.start("web", "serve", "--processes", "2")
    parts.start("beat", "beat")
    first = parts.start(
        "first", "worker", ACTIVEDPO_HOME=str(tmp_path / "one"), **parts.faults.environment()
    )
    visitor = Visitor(parts.address, KEY)
    visitor.get("/projects")
    labels = labelling_project(visitor)
    training = {"max_steps": STEPS, "batch_size": 4, "checkpoint_every": 1000, "lora": 4}
    project = visitor.project(tiny_model(tmp_path / "tiny"), training=training)
    said: dict[str, str] = {}
    round_id = visitor.open_round(project)
    parts.faults.hold_at("child.training")
    visitor.label_round(project, round_id, said)
    parts.faults.held("child.training")

    ended: list[str] = []
    with Clients(parts.address, labels, 3) as clients:
        stream = watch(parts.address, round_id, ended)
        wait_until(lambda: clients.answered > 20 and ended, "people at work", 120)
        before = clients.answered
        web.send_signal(signal.SIGHUP)
        wait_until(lambda: parts.log("web").count("is replaced") == 2, "two new web processes", 120)
        stream.join(30)
        after = clients.answered

        first.send_signal(signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in parts.log("first"), "the worker to be asked")
        parts.faults.let_go("child.training")
        first.wait(60)
        wait_until(lambda: clients.answered > after, "people at work with the new processes")
        parts.start("second", "worker", ACTIVEDPO_HOME=str(homes[host]))
        visitor.wait_for(round_id, "done")
    assert clients.dropped == []
    assert clients.answered > before
    assert ended == ["began 200", "in good order"]

    with database.connect() as connection:
        query = text("SELECT attempt, output FROM runs WHERE round_id = :r AND kind = 'train'")
        attempt, output = connection.execute(query, {"r": round_id}).one()
        query = text("SELECT metrics FROM policies WHERE round_id = :r")
        metrics: dict[str, Any] = connection.execute(query, {"r": round_id}).scalar_one()
        query = text("SELECT count(*) FROM preferences WHERE project_id = :p")
        stored = connection.execute(query, {"p": labels}).scalar_one()
    assert attempt == 2
    resumed_at = output["clock"]["stages"]["training"]["first"]
    left = output["checkpoint"]["files"]
    (made,) = {name.split("/")[0] for name in left}
    assert resumed_at == int(made.removeprefix("step-")) + 1, "the step after the last one made"
    assert 1 < resumed_at < STEPS
    assert [step["step"] for step in metrics["steps"]] == list(range(1, STEPS + 1))
    assert stored == clients.answered, "every answer that was told stored is, and no other"
    assert web.poll() is None


def test_a_page_of_one_server_tells_what_another_one_stored(parts: Parts) -> None:
    other = free_port()
    parts.start("web", "serve")
    parts.start("other", "serve", ACTIVEDPO_PORT=str(other))
    visitor = Visitor(parts.address, KEY)
    project = labelling_project(visitor)
    (round_,) = visitor.everything(f"/projects/{project}/rounds")
    Visitor(f"http://127.0.0.1:{other}", KEY).get("/projects")
    with httpx.Client(base_url=f"http://127.0.0.1:{other}", timeout=60) as http:
        who = {"email": EMAIL, "password": PASSWORD}
        assert http.post("/api/v1/sign-in", json=who).status_code == 200
        with http.stream("GET", f"/rounds/{round_['id']}/events") as stream:
            lines = stream.iter_lines()
            assert any("0 of 4" in line for line in lines)  # with the thousands behind it
            visitor.label(project, {}, upto=7)
            assert any("7 of 4" in line for line in lines)


def test_connections_wait_for_a_web_process_that_is_restarted(parts: Parts) -> None:
    """As behind systemd, which holds the socket: whoever asks in between is answered."""
    from app.stack.web import bind

    with bind("127.0.0.1", parts.port) as listening:
        listening.listen(100)
        command = [sys.executable, "-m", "app.cli", "serve", "--fd", str(listening.fileno())]
        fds, env = (listening.fileno(),), parts.env
        old = process.start(command, env=env, pass_fds=fds)
        assert httpx.get(f"{parts.address}/healthz", timeout=60).status_code == 200
        assert process.stop(old, signal.SIGTERM, 20) == -signal.SIGTERM
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.get(f"{parts.address}/healthz", timeout=60).status_code
            )
        )
        asking.start()
        new = process.start(command, env=env, pass_fds=fds)
        asking.join()
        assert answers == [200]
        process.stop(new, signal.SIGINT, 20)


def test_processes_that_cannot_start_leave_the_old_ones_at_work(
    parts: Parts, database: Engine
) -> None:
    from app import migrate

    web = parts.start("web", "serve", "--processes", "1")
    Visitor(parts.address, KEY).get("/projects")
    head = migrate.head()
    try:
        with database.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        web.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old ones stay" in parts.log("web"), "the new one to be refused")
        assert httpx.get(f"{parts.address}/healthz", timeout=60).status_code == 200
    finally:
        with database.begin() as connection:
            connection.execute(
                text("UPDATE alembic_version SET version_num = :head"), {"head": head}
            )


def test_every_process_tells_what_all_of_them_have_counted(parts: Parts, tmp_path: Path) -> None:
    web = parts.start("web", "serve", "--processes", "2")
    Visitor(parts.address, KEY).get("/projects")
    both = wait_until(lambda: _two(psutil.Process(web.pid).children()), "two web processes")
    auth = {"Authorization": f"Bearer {KEY}"}
    count = re.compile(
        r'activedpo_request_seconds_count{method="GET",route="/api/v1/me",status="200"} (.+)'
    )
    told = []
    for sleeping in both:  # so that the other one has to answer
        sleeping.suspend()
        for _ in range(10):
            asked = httpx.get(f"{parts.address}/api/v1/me", headers=auth, timeout=60)
            asked.raise_for_status()
        figures = httpx.get(f"{parts.address}/metrics", timeout=60).text
        told += [float(found) for found in count.findall(figures)]
        sleeping.resume()
    assert told == [10.0, 20.0]
    assert "Traceback" not in (tmp_path / "web.log").read_text()


def _two(processes: list[psutil.Process]) -> list[psutil.Process] | None:
    return processes if len(processes) == 2 else None
