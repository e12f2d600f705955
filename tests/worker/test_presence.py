"""What a worker says of itself: that it is there, and what it has counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any
from uuid import UUID

import orjson
import pytest
from prometheus_client import generate_latest
from sqlalchemy import select

from app.database import transaction
from app.metrics import REGISTRY
from app.rounds import runs
from app.rounds.models import Run
from app.system.models import Worker as Row
from tests.worker.conftest import (
    Worker,
    label_batch,
    make_person,
    one_round,
    open_round,
    runs_of,
    wait_for,
    wait_state,
)
from worker import report as reports
from worker import volume
from worker.device import Device
from worker.hold import HoldLostError
from worker.tally import Tally
from worker.work import TrainOutcome


def rows() -> list[Row]:
    with transaction() as session:
        return list(session.scalars(select(Row).order_by(Row.created_at, Row.id)))


def figures(name: str) -> dict[str, float]:
    """A counter of the one worker there is."""
    (row,) = rows()
    found: dict[str, float] = row.tallies.get(name, {})
    return found


def test_a_worker_process_tells_its_device_its_work_and_its_end(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    project_id, person = project(prompts=8, evals=2, batch_size=6), make_person()
    worker = start_worker()
    (row,) = wait_for(rows)
    assert (row.pid, row.stopped_at) == (worker.process.pid, None)
    assert row.queues == ["default", "generate", "gpu", "train"]
    assert row.device == {}
    first = open_round(project_id)
    label_batch(project_id, first, person)
    wait_state(first, "done")
    done = {"generate|done": 1, "train|done": 1, "evaluate|done": 1}
    wait_for(lambda: figures("runs") == done)
    assert rows()[0].device == {"name": "cpu"}
    stages = figures("stage_seconds")
    assert {"generate|generating", "generate|scoring", "train|training"} <= set(stages)
    assert all(seconds >= 0 for seconds in stages.values())
    pairs = figures("pairs")
    assert pairs["generate|generating"] == pairs["generate|scoring"] == 8
    (training,) = runs_of(first, "train")
    epochs = 30
    assert pairs["train|training"] == 6 * epochs
    assert pairs["evaluate|evaluating"] == 2
    assert figures("tokens")["generate|scoring"] > 8
    assert figures("tokens")["train|training"] > 6 * epochs
    memory = figures("peak_memory_bytes")
    assert memory["train|host"] > 50_000_000
    assert training.output["clock"]["memory"]["host"] > 50_000_000
    told = generate_latest(REGISTRY).decode()
    label = re.escape(f'worker="{row.host}:{row.pid}"')
    assert re.search(rf'stage_seconds_total{{kind="train",stage="training",{label}}} [\d.]+', told)
    assert 'activedpo_workers{queue="train"} 1.0' in told
    worker.stop()
    assert rows()[0].stopped_at is not None


def test_an_attempt_more_and_a_hold_that_was_lost_are_counted(
    project: Callable[..., UUID], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = device.tally.figures()
    round_id = open_round(project())
    with transaction() as session:
        held = runs.take(session, "another:1:x", 60, ["generate"])
        assert held is not None
        mine = runs.hold(session, held.id, held.attempt)
        assert mine is not None
        runs.give_up(session, mine, "it fell silent")

    def lost(*_: object) -> None:
        raise HoldLostError

    with monkeypatch.context() as patch:
        patch.setattr(device, "_carry_out", lost)
        assert device._one()
    after = device.tally.figures()

    def more(name: str, labels: str) -> float:
        return after[name].get(labels, 0) - before.get(name, {}).get(labels, 0)

    assert more("retries", "generate") == 1
    assert more("lease_losses", "generate") == 1
    assert more("runs", "generate|lost") == 1
    assert (runs_of(round_id, "generate")[0]).attempt == 2


def test_what_is_refused_is_no_crash(project: Callable[..., UUID], device: Device) -> None:
    before = device.tally.figures().get("runs", {}).get("generate|refused", 0)
    open_round(project(prompts=0, long_prompts=4))
    device.drain()
    assert device.tally.figures()["runs"]["generate|refused"] == before + 1


def test_a_clock_divides_all_of_the_time_among_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    ours, theirs = Pipe()
    report = reports.Report(theirs)

    def at(moment: float, stage: str, done: int) -> None:
        now[0] = 100 + moment
        report(stage, done, 10)

    at(0, "loading", 0)
    at(2, "generating", 0)
    at(2.1, "generating", 5)  # too soon to be sent, and counted all the same
    at(6, "scoring", 0)
    at(7, "generating", 9)
    now[0] = 110
    clock = report.clock()
    assert clock["stages"] == {
        "loading": {"seconds": 2, "first": 0, "last": 0},
        "generating": {"seconds": 7, "first": 0, "last": 9},
        "scoring": {"seconds": 1, "first": 0, "last": 0},
    }
    assert clock["seconds"] == 10
    assert [orjson.loads(ours.recv_bytes())["progress"]["stage"] for _ in range(4)] == [
        "loading",
        "generating",
        "scoring",
        "generating",
    ]


def test_a_training_that_was_resumed_counts_its_own_steps_alone(
    project: Callable[..., UUID], device: Device
) -> None:
    from worker import train

    round = one_round(project(training={"epochs": 3, "batch_size": 3}), device)
    (run,) = runs_of(round.id, "train")
    with transaction() as session:
        work = train.load(session, session.get_one(Run, run.id))
    # 4 pairs in batches of 3 are 2 steps an epoch, 2 pairs a step in the mean
    steps = [{"step": float(n), "tokens": 10.0 * n} for n in range(1, 7)]
    outcome = TrainOutcome("adapter", {"trained_pairs": 4, "steps": steps})
    clock: dict[str, Any] = {"stages": {"training": {"seconds": 1.0, "first": 5, "last": 6}}}
    assert volume.of(work, outcome, clock) == {"training": (4.0, 110.0)}
    assert volume.of(work, outcome, {"stages": {}}) == {"training": (0.0, 0.0)}


def test_figures_are_a_copy_and_labels_are_whole() -> None:
    tally = Tally()
    tally.count("retries", "train")
    taken = tally.figures()
    tally.count("retries", "train", by=2)
    assert (taken, tally.figures()) == ({"retries": {"train": 1}}, {"retries": {"train": 3}})
    with pytest.raises(AssertionError, match="retries"):
        tally.count("retries", "train", "more")
    assert re.fullmatch(r"\w+", next(iter(taken)))
