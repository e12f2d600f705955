"""What crashes leave is put right."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import text

from app import artifacts
from app.database import transaction
from app.labelling import actions as labelling
from app.labelling.models import Claim
from app.projects.models import Project
from app.rounds import runs
from app.settings import get_settings
from tests.worker.conftest import make_person, one_round, open_round, round_of, runs_of
from worker import reconciler, train
from worker.device import Device


def later(table: str, column: str) -> None:
    """Makes it an hour later for one column."""
    with transaction() as session:
        session.execute(text(f"UPDATE {table} SET {column} = {column} - interval '1 hour'"))


def test_folders_of_attempts_that_lost_are_swept_and_the_policy_stays(
    project: Callable[..., UUID], device: Device
) -> None:
    round = one_round(project(training={"max_steps": 1}), device)
    (run,) = runs_of(round.id, "train")
    store = get_settings().home / "artifacts"
    lost = store / train.path_of(run, 1, run.attempt + 1)
    lost.mkdir(parents=True)
    (lost / "adapter_model.safetensors").write_bytes(b"half")
    with transaction() as session:
        session.get_one(type(run), run.id).attempt += 1
    assert not train.scratch_of(run).exists()
    assert reconciler.sweep() == 0  # it may still be writing
    later("rounds", "updated_at")
    train.scratch_of(run).mkdir(parents=True)  # as an attempt that lost leaves it
    assert reconciler.sweep() == 1
    assert not lost.exists()
    assert not train.scratch_of(run).exists()
    assert (store / train.path_of(run, 1, 1) / "adapter_model.safetensors").is_file()
    assert reconciler.sweep() == 0


def test_expired_claims_are_given_back(project: Callable[..., UUID], device: Device) -> None:
    project_id, person = project(), make_person()
    open_round(project_id)
    device.drain()
    with transaction() as session:
        claimed = labelling.claim_pairs(session, session.get_one(Project, project_id), person, 2)
        ids = [pair.claim.id for pair in claimed]
    later("claims", "expires_at")
    reconciler.reconcile()
    with transaction() as session:
        assert {session.get_one(Claim, id).state for id in ids} == {"expired"}


def test_a_run_whose_worker_fell_silent_is_done_by_the_next(
    project: Callable[..., UUID], device: Device
) -> None:
    round_id = open_round(project())
    with transaction() as session:
        assert runs.take(session, "another:1:x", 60, ["generate"]) is not None
    device.drain()
    assert round_of(round_id).state == "generating"
    later("runs", "lease_expires_at")
    reconciler.reconcile()
    device.drain()
    assert round_of(round_id).state == "labelling"


def test_a_store_that_cannot_be_written_fails_the_round_and_publishes_nothing(
    project: Callable[..., UUID], device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "put_folder", full)
    project_id = project(training={"max_steps": 1})
    with pytest.raises(AssertionError):
        one_round_done(project_id, device)
    with transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM policies WHERE number > 0")) == 0
        error = session.scalar(text("SELECT error FROM rounds"))
    assert "disk is full" in str(error)


def one_round_done(project_id: UUID, device: Device) -> None:
    assert one_round(project_id, device).state == "done"
