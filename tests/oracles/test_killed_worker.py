"""The worker dies in the middle of a language model's batch: nothing is lost, nothing doubled."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.database import transaction
from app.oracles.models import Oracle
from app.settings import get_settings
from tests.faults.harness import Faults
from tests.oracles.conftest import Lab
from tests.oracles.helpers import run_oracle
from tests.oracles.weather import GOOD, Server, as_json, honest

Make = Callable[..., Lab]
PAIRS = 24
WORKER = (
    "import asyncio, sys, uuid; from worker.oracle import Office; "
    "asyncio.run(Office('doomed').attend(uuid.UUID(sys.argv[1])))"
)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults")


@pytest.fixture
def batch(lab: Make, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An open batch with a judge that asks two questions at a time, on a dozen pairs at most."""
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "true")
    get_settings.cache_clear()
    it = lab(PAIRS)
    it.open()
    body = {"kind": "openai", "base_url": server.url, "model": "m", "concurrency": 2}
    answer = it.client.put(f"{it.at}/oracle", json=body)
    assert answer.status_code == 200, answer.text
    yield it
    get_settings.cache_clear()


@contextmanager
def worker(it: Lab, faults: Faults) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that does nothing but this project's oracle."""
    environment = {**os.environ, **faults.environment()}
    command = [sys.executable, "-c", WORKER, str(it.project_id)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def lease_over(it: Lab) -> None:
    """As much time passes as the dead worker's hold lasts."""
    with transaction() as s:
        past = func.clock_timestamp() - dt.timedelta(seconds=1)
        mine = Oracle.project_id == it.project_id
        s.execute(update(Oracle).where(mine).values(lease_expires_at=past))


def complete(it: Lab) -> None:
    """Every pair has one label, the right one; every count says so; nothing is held."""
    good = {pair.id: "a" if pair.completion_a == GOOD else "b" for pair in it.pairs()}
    assert {label.pair_id: label.chosen for label in it.labels()} == good
    assert max(Counter(label.pair_id for label in it.labels()).values()) == 1
    assert it.claims("live") == []
    assert (it.round().answered, it.round().state) == (PAIRS, "training")
    assert spent(it)["labels"] == PAIRS


def spent(it: Lab) -> dict[str, Any]:
    with transaction() as s:
        oracle = s.scalars(select(Oracle).where(Oracle.project_id == it.project_id)).one()
        return dict(oracle.spent)


def distinct(server: Server) -> Counter[str]:
    """How often each question was put, whatever its random mark."""
    said: Counter[str] = Counter()
    for body in server.requests:
        text = body["messages"][-1]["content"]
        mark = text.split(">>", 1)[0].split()[-1]
        said[text.replace(mark, "")] += 1
    return said


def test_killed_while_it_waits_for_replies(batch: Lab, server: Server, faults: Faults) -> None:
    doomed: list[int] = []

    def plan(body: dict[str, Any], number: int) -> Any:
        if number == 9 and doomed:
            os.kill(doomed.pop(), signal.SIGKILL)
        return as_json(honest(body))

    server.plan, server.delay = plan, 0.05
    with worker(batch, faults) as process:
        doomed.append(process.pid)
        assert process.wait(60) == -signal.SIGKILL
    assert len(batch.labels()) < PAIRS
    assert batch.claims("live")
    lease_over(batch)
    run_oracle(batch.project_id)
    complete(batch)


@pytest.mark.parametrize("point", ["judge.replied", "judge.storing", "judge.stored"])
def test_killed_between_the_reply_and_the_next_pair(
    point: str, batch: Lab, server: Server, faults: Faults
) -> None:
    server.delay = 0.02
    with worker(batch, faults) as process:
        faults.kill_at(point)
        assert process.wait(60) == -signal.SIGKILL
    faults.all_struck()
    stored = len(batch.labels())
    assert bool(stored) or point != "judge.stored"
    assert stored < PAIRS
    assert spent(batch).get("labels", 0) == stored  # the money and the labels: both or neither
    before = len(server.requests)
    kept = spent(batch).get("calls", 0)
    lease_over(batch)
    run_oracle(batch.project_id)
    complete(batch)
    # What was stored is not asked again; what was not, is
    assert len(server.requests) == before + 2 * PAIRS - kept
    assert len(distinct(server)) == 2 * PAIRS


def test_a_worker_that_comes_back_after_its_hold_stores_nothing(
    batch: Lab, server: Server, faults: Faults
) -> None:
    server.delay = 0.02
    with worker(batch, faults) as process:
        faults.hold_at("judge.replied")
        faults.held("judge.replied")
        lease_over(batch)
        run_oracle(batch.project_id)
        complete(batch)
        faults.let_go("judge.replied")
        assert process.wait(60) == 0  # it ends in good order: its hold is lost
    complete(batch)


def test_killed_again_and_again(batch: Lab, server: Server, faults: Faults) -> None:
    server.delay = 0.02
    for point in ("judge.storing", "judge.stored", "judge.replied"):
        with worker(batch, faults) as process:
            faults.kill_at(point)
            assert process.wait(60) == -signal.SIGKILL
        lease_over(batch)
    run_oracle(batch.project_id)
    complete(batch)
