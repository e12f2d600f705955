"""A cancellation ends the work within seconds, whatever the round is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Pair
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
from worker.hold import Hold, Progress

SECONDS = 10
IN_THE_CHILD = ("loading", "generating", "scoring", "entropy", "training", "evaluating")
LABELLED_FIRST = ("training", "evaluating")


def cancel(round_id: UUID) -> None:
    with transaction() as session:
        actions.cancel(session, session.get_one(Round, round_id))


def count(table: type[Policy] | type[Pair], round_id: UUID) -> int:
    with transaction() as session:
        query = select(func.count()).select_from(table).where(table.round_id == round_id)
        return session.scalar(query) or 0


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    monkeypatch.setenv("ACTIVEDPO_FAULTS", str(folder))
    return folder


def test_the_child_s_work_ends_at_every_stage(
    project: Callable[..., UUID], start_worker: Callable[..., Worker], faults: Path
) -> None:
    worker, person = start_worker(), make_person()
    for stage in IN_THE_CHILD:
        project_id = project(training={"max_steps": 3}, acquisition="entropy", cold_start="entropy")
        if stage not in LABELLED_FIRST:
            (faults / f"child.{stage}.hold").touch()
        round_id = open_round(project_id)
        if stage in LABELLED_FIRST:
            wait_state(round_id, "labelling")
            (faults / f"child.{stage}.hold").touch()
            label_batch(project_id, round_id, person)
        held = faults / f"child.{stage}.held"
        wait_for(held.exists)
        (child,) = worker.children()
        cancel(round_id)
        wait_for(lambda child=child: not child.is_running() or child.status() == "zombie", SECONDS)
        held.unlink()
        assert round_of(round_id).state == "cancelled"
        assert {r.state for kind in ("generate", "train") for r in runs_of(round_id, kind)} <= {
            "cancelled",
            "done",
        }
    # and the worker goes on with what comes next
    wait_state(open_round(project(training={"max_steps": 3})), "labelling")


@pytest.mark.parametrize(
    ("point", "table"),
    [("generate.computed", Pair), ("train.kept", Policy), ("evaluate.computed", None)],
)
def test_what_was_computed_is_not_stored_any_more(
    point: str,
    table: type[Policy] | type[Pair] | None,
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
    faults: Path,
) -> None:
    worker = start_worker()
    (faults / f"{point}.hold").touch()
    project_id = project(training={"max_steps": 3})
    round_id = open_round(project_id)
    if not point.startswith("generate"):
        label_batch(project_id, round_id, make_person())
    held = faults / f"{point}.held"
    wait_for(held.exists)
    cancel(round_id)
    held.unlink()
    wait_for(lambda: "hold_lost" in worker.log.read_text(), SECONDS)
    assert round_of(round_id).state == "cancelled"
    assert table is None or count(table, round_id) == 0


def test_a_round_that_waits_or_is_labelled_is_cancelled_at_once(
    project: Callable[..., UUID],
) -> None:
    round_id = open_round(project())
    cancel(round_id)
    assert round_of(round_id).state == "cancelled"
    with transaction() as session:
        assert runs.take(session, "host:1:a", 60, ["generate"]) is None


def test_work_that_was_about_to_start_is_ended_too(
    project: Callable[..., UUID], settings: None
) -> None:
    ends, several = [], threading.Event()

    def end() -> None:
        ends.append(1)
        if len(ends) > 2:
            several.set()

    lost = Hold(uuid4(), 1, 10, 0.05, Progress("loading"), end)
    with lost:
        assert several.wait(20)  # until it is over, not only once
        assert lost.lost.is_set()
    before = len(ends)
    assert not lost._thread or not lost._thread.is_alive()
    assert len(ends) == before


def test_a_cancelled_run_stays_so(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    with transaction() as session:
        run = runs.take(session, "host:1:a", 60, ["generate"])
        assert run is not None
    cancel(round_id)
    with transaction() as session:
        assert runs.hold(session, run.id, run.attempt) is None
        assert session.get_one(Run, run.id).state == "cancelled"
