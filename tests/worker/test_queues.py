"""Workers that take some work and leave the rest, and rounds that say what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
import typer

from app.cli.stack import _queues
from app.database import transaction
from app.rounds.models import Run
from app.system.queries import lacking
from tests.worker.conftest import (
    Worker,
    label_batch,
    make_person,
    open_round,
    runs_of,
    wait_for,
    wait_state,
)
from worker.device import Device


def pid_of(run: Run) -> int:
    return int(str(run.lease_owner).split(":")[1])


def lacks(round_id: UUID) -> str | None:
    with transaction() as session:
        kinds = ("generate", "train", "evaluate")
        return lacking(session, [run for kind in kinds for run in runs_of(round_id, kind)])


def test_each_worker_does_what_it_takes_and_the_round_says_what_is_missing(
    project: Callable[..., UUID], start_worker: Callable[..., Worker], clock: Worker
) -> None:
    project_id, person = project(training={"max_steps": 5}), make_person()
    round_id = open_round(project_id)
    assert lacks(round_id) == "generate"
    generates = start_worker("worker", "-Q", "generate,default", "--loglevel", "INFO")
    wait_for(lambda: lacks(round_id) is None)
    label_batch(project_id, round_id, person)
    wait_state(round_id, "training")
    wait_for(lambda: lacks(round_id) == "train")
    (training,) = runs_of(round_id, "train")
    assert (training.state, training.attempt) == ("queued", 0)
    trains = start_worker("worker", "-Q", "train", "--loglevel", "INFO")
    wait_state(round_id, "done")
    by = {kind: pid_of(runs_of(round_id, kind)[0]) for kind in ("generate", "train", "evaluate")}
    there = generates.process.pid
    assert by == {"generate": there, "train": trains.process.pid, "evaluate": there}


def test_a_device_takes_the_kinds_it_was_made_for(
    project: Callable[..., UUID], settings: None
) -> None:
    round_id = open_round(project())
    training = Device(["train"])
    training.drain()
    (run,) = runs_of(round_id, "generate")
    assert (run.state, run.attempt) == ("queued", 0)
    training.stop()


def test_runs_and_the_other_work_take_turns(
    project: Callable[..., UUID], settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    left = {"run": 3, "judge": 3}

    def one(what: str) -> bool:
        if not left[what]:
            return False
        left[what] -= 1
        done.append(what)
        return True

    device = Device(otherwise=lambda _: one("judge"))
    monkeypatch.setattr(device, "_run", lambda: one("run"))
    device.drain()
    assert done == ["run", "judge"] * 3


@pytest.mark.parametrize(
    ("takes", "queues"),
    [
        ("gpu,cpu", "train,generate,default"),
        ("train", "train"),
        ("generate, cpu", "generate,default"),
        ("gpu,train", "train,generate"),
    ],
)
def test_a_capability_is_one_or_more_queues(takes: str, queues: str) -> None:
    assert _queues(takes) == queues


@pytest.mark.parametrize("takes", ["tpu", "", "train,tpu"])
def test_an_unknown_capability_names_the_known_ones(takes: str) -> None:
    with pytest.raises(typer.BadParameter, match="train, generate, gpu, cpu"):
        _queues(takes)
