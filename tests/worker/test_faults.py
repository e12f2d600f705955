"""What is killed, paused, doubled or lost: a round still trains exactly once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil
import pytest
import redis
from sqlalchemy import func, select

from app import jobs
from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Pair
from app.rounds import actions
from app.rounds.models import Round, Run
from tests.worker.conftest import (
    Worker,
    label_batch,
    make_person,
    open_round,
    round_of,
    runs_of,
    wait_for,
    wait_state,
)

LONG = {"max_steps": 400, "checkpoint_every": 20, "learning_rate": 1e-4}


def policies(round_id: UUID) -> int:
    with transaction() as session:
        query = select(func.count()).select_from(Policy).where(Policy.round_id == round_id)
        return session.scalar(query) or 0


def training(round_id: UUID, steps: int = 1) -> Run | None:
    runs = runs_of(round_id, "train")
    busy = runs and runs[0].state == "running" and runs[0].done >= steps
    return runs[0] if busy and round_of(round_id).stage == "training" else None


def start_training(project: Callable[..., UUID], **options: object) -> UUID:
    project_id, person = project(training=LONG | options), make_person()
    round_id = open_round(project_id)
    label_batch(project_id, round_id, person)
    return round_id


def child_of(worker: Worker) -> psutil.Process:
    children: list[psutil.Process] = wait_for(worker.children)
    return children[0]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_child_killed_in_training_resumes_and_trains_once(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project)
    run = wait_for(lambda: (held := training(round_id, 150)) and held.checkpoint_uri and held)
    assert Path(run.checkpoint_uri).is_dir()
    child_of(worker).kill()
    again = wait_for(lambda: (held := training(round_id)) and held.attempt == 2 and held)
    assert again.done > 130  # from the last checkpoint, not from the beginning
    done = wait_state(round_id, "done")
    (run,) = runs_of(round_id, "train")
    assert (run.state, run.attempt, policies(round_id)) == ("done", 2, 1)
    assert done.metrics["steps"][-1]["step"] == LONG["max_steps"]
    assert worker.process.poll() is None


def test_a_killed_worker_is_replaced_by_another(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    first = start_worker()
    round_id = start_training(project)
    run = wait_for(lambda: training(round_id))
    child = child_of(first)
    first.stop(signal.SIGKILL)
    wait_for(lambda: gone(child), 10)
    with transaction() as session:  # what the supervisor does when it sees a worker die
        host, pid, _ = run.lease_owner.split(":")
        assert int(pid) == first.process.pid
        assert actions.free_leases(session, f"{host}:{pid}:") == 1
    start_worker()
    wait_state(round_id, "done")
    assert policies(round_id) == 1


def test_a_worker_paused_past_its_lease_publishes_nothing(
    settings: None,
    monkeypatch: pytest.MonkeyPatch,
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
) -> None:
    monkeypatch.setenv("ACTIVEDPO_LEASE_SECONDS", "5")
    paused = start_worker()
    start_worker("beat")
    round_id = start_training(project, max_steps=200)
    wait_for(lambda: training(round_id))
    paused.process.send_signal(signal.SIGSTOP)
    start_worker()
    done = wait_state(round_id, "done")
    paused.process.send_signal(signal.SIGCONT)
    wait_for(lambda: "hold_lost" in paused.log.read_text(), 30)
    (run,) = runs_of(round_id, "train")
    assert run.attempt >= 2
    assert (run.state, policies(round_id)) == ("done", 1)
    with transaction() as session:
        path = session.scalars(select(Policy.path).where(Policy.round_id == round_id)).one()
    assert str(path).endswith(f"train-{run.attempt}")
    assert round_of(round_id).metrics == done.metrics


def test_messages_ten_times_over_train_once(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    start_worker()
    start_worker()
    project_id, person = project(training={"max_steps": 50}), make_person()
    round_id = open_round(project_id)
    bells = [("activedpo.round", "gpu", (str(round_id),))] * 10
    jobs.send(bells)
    label_batch(project_id, round_id, person)
    jobs.send(bells)
    wait_state(round_id, "done")
    jobs.send(bells)
    time.sleep(1)
    attempts = {kind: runs_of(round_id, kind)[0].attempt for kind in ("generate", "train")}
    assert attempts == {"generate": 1, "train": 1}
    assert policies(round_id) == 1
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Pair)) == 6


def test_lost_messages_are_asked_for_again(
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
    redis_url: str,
) -> None:
    project_id, person = project(training={"max_steps": 5}), make_person()
    round_id = open_round(project_id)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    start_worker()
    start_worker("beat")
    label_batch(project_id, round_id, person)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    wait_state(round_id, "done")
    assert policies(round_id) == 1


def test_cancelling_stops_the_training_in_seconds(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project)
    wait_for(lambda: training(round_id))
    child = child_of(worker)
    with transaction() as session:
        round = actions.cancel(session, session.get_one(Round, round_id))
        project_id = round.project_id
    wait_for(lambda: gone(child), 10)
    assert policies(round_id) == 0
    following = open_round(project_id)
    wait_state(following, "labelling")
    assert round_of(round_id).state == "cancelled"


def test_a_worker_told_to_stop_gives_its_run_back(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project)
    wait_for(lambda: training(round_id))
    child = child_of(worker)
    assert worker.stop(seconds=15) == 0
    assert gone(child)
    (run,) = runs_of(round_id, "train")
    assert (run.state, run.stuck, run.lease_owner) == ("queued", 0, None)


def test_a_run_that_kills_every_child_fails_the_round(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project, checkpoint_every=1_000_000)
    wait_for(lambda: (run := training(round_id)) and run.attempt == 1)
    for attempt in (1, 2, 3):
        wait_for(lambda n=attempt: [run.attempt for run in runs_of(round_id, "train")] == [n])
        killed = child_of(worker)
        killed.kill()  # the later ones as soon as they are there: progress was made by none
        wait_for(lambda child=killed: gone(child))
    failed = wait_state(round_id, "failed")
    assert failed.failed_stage == "training"
    assert "memory" in (failed.error or "")
    with transaction() as session:
        actions.retry(session, session.get_one(Round, round_id))
    wait_for(lambda: training(round_id))
