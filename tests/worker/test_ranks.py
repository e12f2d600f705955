"""A training in several processes: one run, one hold, one policy, and none of them left over."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy import func, select

from activedpo import loading
from activedpo.errors import ActiveDPOError
from app.database import transaction
from app.policies.models import Policy
from app.rounds import actions, runs
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
from worker import ranks, train
from worker.accelerator import RefusedError
from worker.device import Device

BOTH = {"processes": 2}
LONG = BOTH | {"max_steps": 400, "checkpoint_every": 20, "learning_rate": 1e-4}
FULL = {"lora": 0, "learning_rate": 1e-3}


def policies(round_id: UUID) -> int:
    with transaction() as session:
        query = select(func.count()).select_from(Policy).where(Policy.round_id == round_id)
        return session.scalar(query) or 0


def ready_to_train(project: Callable[..., UUID], device: Device, **training: Any) -> UUID:
    """A round whose batch is labelled and whose training nobody has taken."""
    project_id, person = project(training=training), make_person()
    round_id = open_round(project_id)
    device.drain()
    label_batch(project_id, round_id, person)
    return round_id


def start_training(project: Callable[..., UUID], **training: Any) -> UUID:
    project_id, person = project(training=training), make_person()
    round_id = open_round(project_id)
    label_batch(project_id, round_id, person)
    return round_id


def stepping(round_id: UUID, steps: int = 1) -> Run | None:
    (run,) = runs_of(round_id, "train") or [None]
    at_it = run is not None and run.state == "running" and run.done >= steps
    return run if at_it and round_of(round_id).stage == "training" else None


def processes_of(worker: Worker) -> list[psutil.Process]:
    """The child, and those that train with it."""
    return psutil.Process(worker.process.pid).children(recursive=True)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def work_of(round_id: UUID) -> train.TrainWork:
    with transaction() as session:
        run = runs.take(session, "host:1:a", 600, ["train"])
        assert run is not None
        assert run.round_id == round_id
        return train.load(session, run)


@pytest.mark.parametrize(
    "way", [{"lora": 4}, FULL, FULL | {"strategy": "fsdp2"}], ids=["ddp-lora", "ddp", "fsdp2"]
)
def test_two_processes_make_the_policy_of_one(
    way: dict[str, Any], project: Callable[..., UUID], device: Device, tmp_path: Path
) -> None:
    work = work_of(ready_to_train(project, device, **way, epochs=4, batch_size=3))
    made, shown = {}, {}
    for count in (1, 2):
        out, told = tmp_path / str(count), []
        given = dataclasses.replace(
            work,
            training=work.training | {"processes": count},
            out=str(out),
            checkpoints=str(tmp_path / f"checkpoints-{count}"),
        )
        outcome = device.accelerator.run("train", train.WORK.pack(given), told.append)
        assert train.OUTCOME.unpack(outcome).kind == ("adapter" if way["lora"] else "full")
        (file,) = out.glob("*.safetensors")
        made[count] = load_file(file)
        shown[count] = [t["done"] for t in told if t["stage"] == "training"]
    assert shown[1][-1] == shown[2][-1] == 8
    assert made[1].keys() == made[2].keys()
    for name, weight in made[1].items():
        torch.testing.assert_close(made[2][name], weight, rtol=1e-3, atol=1e-4)
    child = psutil.Process(device.accelerator.pid)
    assert child.children(recursive=True) == []


def test_a_round_with_two_processes_ends_with_one_policy_and_the_child_alone(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project, **BOTH, max_steps=30)
    done = wait_state(round_id, "done")
    assert [step["step"] for step in done.metrics["steps"]] == list(range(1, 31))
    assert policies(round_id) == 1
    assert [run.attempt for run in runs_of(round_id, "train")] == [1]
    assert len(processes_of(worker)) == 1
    assert worker.stop() == 0


def test_a_killed_process_ends_the_others_and_the_next_attempt_resumes(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project, **LONG | {"max_steps": 160})
    wait_for(lambda: (run := stepping(round_id, 60)) and run.checkpoint_uri)
    first = processes_of(worker)
    assert len(first) == 2
    first[1].kill()
    again = wait_for(lambda: (run := stepping(round_id)) and run.attempt == 2 and run)
    assert again.done > 40  # from the last checkpoint
    assert all(map(gone, first))
    wait_state(round_id, "done")
    assert policies(round_id) == 1


def test_cancelling_ends_every_process_in_seconds(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project, **LONG)
    wait_for(lambda: stepping(round_id))
    both = processes_of(worker)
    with transaction() as session:
        actions.cancel(session, session.get_one(Round, round_id))
    wait_for(lambda: all(map(gone, both)), 10)
    assert len(both) == 2
    assert policies(round_id) == 0


def test_a_worker_that_dies_leaves_no_process(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    worker = start_worker()
    round_id = start_training(project, **LONG)
    wait_for(lambda: stepping(round_id))
    both = processes_of(worker)
    worker.stop(signal.SIGKILL)
    wait_for(lambda: all(map(gone, both)), 10)
    assert len(both) == 2


def test_a_worker_told_to_stop_leaves_the_checkpoint_of_the_step_it_was_at(
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "train.stopped.hold").touch()
    monkeypatch.setenv("ACTIVEDPO_FAULTS", str(tmp_path))
    monkeypatch.setenv("ACTIVEDPO_STOP_SECONDS", "60")
    worker = start_worker()
    round_id = start_training(project, **LONG | {"checkpoint_every": 1_000, "max_steps": 120})
    wait_for(lambda: stepping(round_id, 30))
    first, second = processes_of(worker)
    worker.process.terminate()
    wait_for((tmp_path / "train.stopped.held").exists)
    wait_for(lambda: gone(second))
    time.sleep(1)  # the one that reports has its say though the other had its own before
    (tmp_path / "train.stopped.held").unlink()
    assert worker.process.wait(60) == 0
    assert gone(first)
    (run,) = runs_of(round_id, "train")
    assert (run.state, run.stuck) == ("queued", 0)
    assert run.checkpoint_uri is not None
    start_worker()
    again = wait_for(lambda: stepping(round_id))
    assert again.done > 30
    wait_state(round_id, "done")
    assert policies(round_id) == 1


def test_no_memory_in_one_process_fails_the_round_and_the_worker_goes_on(
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "rank.training.memory").touch()
    monkeypatch.setenv("ACTIVEDPO_FAULTS", str(tmp_path))
    worker = start_worker()
    failed = wait_state(start_training(project, **LONG), "failed")
    assert failed.error is not None
    assert failed.error.startswith("out of memory")
    assert (tmp_path / "rank.training.starved").exists()
    (run,) = runs_of(failed.id, "train")
    assert run.attempt == 1
    with transaction() as session:
        actions.retry(session, session.get_one(Round, failed.id))
    wait_for(lambda: stepping(failed.id))
    assert len(processes_of(worker)) == 2  # anew: whoever was there before has ended


def test_as_many_devices_as_processes(
    settings: None, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    monkeypatch.setattr(loading, "pick_device", lambda _: torch.device("cuda:1"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert ranks.devices_of(3) == ["cuda:1", "cuda:2", "cuda:3"]
    with pytest.raises(ActiveDPOError, match=r"4 processes.* has 3 from cuda:1"):
        ranks.devices_of(4)


def test_what_cannot_be_trained_is_refused_once(
    project: Callable[..., UUID], device: Device
) -> None:
    work = work_of(ready_to_train(project, device, **BOTH))
    short = dataclasses.replace(work, training=work.training | {"max_length": 1})
    with pytest.raises(RefusedError, match="max_length is 1"):
        device.accelerator.run("train", train.WORK.pack(short), lambda _: None)
    assert device.accelerator.pid is None
