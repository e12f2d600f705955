"""A disk that is full, an artefact store that is closed: said plainly, nothing published, and a
retry goes on once it is mended."""

from __future__ import annotations

import hashlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from app.database import transaction
from app.policies.models import Policy
from app.rounds import actions
from app.rounds.models import Round
from app.settings import get_settings
from tests.worker.conftest import label_batch, make_person, open_round, round_of, runs_of
from worker.device import Device

TRAINING = {"max_steps": 6, "checkpoint_every": 2}


@pytest.fixture
def store_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str | None], None]]:
    """Points the artefact store elsewhere; None: back to where it was."""

    def point(url: str | None) -> None:
        if url is None:
            monkeypatch.delenv("ACTIVEDPO_ARTIFACTS", raising=False)
        else:
            monkeypatch.setenv("ACTIVEDPO_ARTIFACTS", url)
        get_settings.cache_clear()

    yield point
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this account may mount nothing")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def ready_to_train(project: Callable[..., UUID], device: Device) -> UUID:
    """A round whose training waits."""
    project_id = project(training=TRAINING)
    round_id = open_round(project_id)
    device.drain()
    label_batch(project_id, round_id, make_person())
    return round_id


def trained(round_id: UUID, device: Device) -> Round:
    device.drain()
    return round_of(round_id)


def retried(round_id: UUID, device: Device) -> Round:
    with transaction() as session:
        actions.retry(session, session.get_one(Round, round_id))
    return trained(round_id, device)


def policies(round_id: UUID) -> list[Policy]:
    with transaction() as session:
        return list(session.scalars(select(Policy).where(Policy.round_id == round_id)))


def whole(policy: Policy) -> bool:
    folder = get_settings().home / "artifacts" / str(policy.path)
    return bool(policy.files) and all(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
        for name, facts in policy.files.items()
    )


def failed_plainly(round: Round, words: str) -> None:
    """Failed at once, with a sentence, and with nothing published."""
    assert (round.state, round.failed_stage) == ("failed", "training")
    assert words in str(round.error)
    assert "retry" in str(round.error)
    assert policies(round.id) == []
    assert runs_of(round.id, "train")[0].attempt == 1


def then_done_once(round: Round) -> None:
    assert round.state == "done"
    (policy,) = policies(round.id)
    assert whole(policy)
    assert len(runs_of(round.id, "train")) == 1


def test_no_room_for_a_checkpoint(project: Callable[..., UUID], device: Device) -> None:
    round_id = ready_to_train(project, device)
    child = device.accelerator.pid
    assert child is not None
    before = resource.prlimit(child, resource.RLIMIT_FSIZE)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        failed_plainly(trained(round_id, device), "the disk is full")
    finally:
        resource.prlimit(child, resource.RLIMIT_FSIZE, before)
    then_done_once(retried(round_id, device))


def test_no_room_for_a_policy_in_the_store(
    project: Callable[..., UUID], device: Device, store_at: Callable[..., None], small_disk: Path
) -> None:
    round_id = ready_to_train(project, device)
    (small_disk / "others").write_bytes(b"x" * 24_000)
    store_at(small_disk.as_uri())
    failed_plainly(trained(round_id, device), "the disk is full")
    store_at(None)
    then_done_once(retried(round_id, device))


@pytest.mark.parametrize("gone", [False, True], ids=["read-only", "gone"])
def test_a_store_that_takes_nothing(
    project: Callable[..., UUID],
    device: Device,
    store_at: Callable[..., None],
    tmp_path: Path,
    gone: bool,
) -> None:
    round_id = ready_to_train(project, device)
    (tmp_path / "file").touch()
    # /sys lets even root make no folder
    store_at((tmp_path / "file" / "store").as_uri() if gone else "file:///sys/activedpo")
    failed_plainly(trained(round_id, device), "artefact store (ACTIVEDPO_ARTIFACTS) cannot be")
    store_at(None)
    then_done_once(retried(round_id, device))
