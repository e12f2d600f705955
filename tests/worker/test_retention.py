"""Old policies go by rule: which, in which order, and whatever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from activedpo.errors import ActiveDPOError
from app import artifacts
from app.database import get_engine, transaction
from app.errors import Conflict
from app.policies import actions, download, retention
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Event, Round, Run
from app.settings import get_settings
from tests.worker.conftest import open_round, wait_for
from worker import models
from worker import retention as work


@pytest.fixture
def history(project: Callable[..., UUID], tmp_path: Path) -> Callable[..., UUID]:
    """Makes a project with policies 1 ... n, each with a file in the store; the last is current."""

    def make(count: int = 5, rates: dict[int, float] | None = None, **columns: Any) -> UUID:
        project_id = project(**columns)
        folder = tmp_path / "made"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        for number in range(1, count + 1):
            path = f"projects/{project_id}/rounds/{number}/train-1"
            files = artifacts.put_folder(folder, path)
            with transaction() as session:
                round = Round(project_id=project_id, number=number, needed=1, state="done")
                session.add(round)
                session.flush()
                metrics = {"win_rate": (rates or {}).get(number)}
                policy = Policy(
                    project_id=project_id,
                    number=number,
                    kind="adapter",
                    base_model="tiny",
                    round_id=round.id,
                    path=path,
                    files=files,
                    size_bytes=7,
                    metrics=metrics,
                )
                session.add(policy)
                session.flush()
                round.policy_out_id = policy.id
                session.get_one(Project, project_id).policy_id = policy.id
        return project_id

    return make


def policy_of(project_id: UUID, number: int) -> Policy:
    with transaction() as session:
        query = select(Policy).where(Policy.project_id == project_id, Policy.number == number)
        return session.scalars(query).one()


def there(project_id: UUID) -> list[int]:
    """Numbers of the policies whose folder is in the store."""
    root = get_settings().home / "artifacts" / "projects" / str(project_id) / "rounds"
    return sorted(int(folder.name) for folder in root.iterdir() if any(folder.rglob("*.*")))


def retired(project_id: UUID) -> list[int]:
    with transaction() as session:
        query = select(Policy.number).where(
            Policy.project_id == project_id, Policy.removed_at.is_not(None)
        )
        return sorted(session.scalars(query))


def an_hour_later() -> None:
    with transaction() as session:
        session.execute(text("UPDATE policies SET removed_at = removed_at - interval '2 hours'"))


def would_go(project_id: UUID) -> list[int]:
    with transaction() as session:
        return [one.number for one in retention.would_go(session) if one.project_id == project_id]


@pytest.mark.parametrize(
    ("keep", "site", "gone"),
    [
        (None, "0", []),
        (2, "0", [1, 2, 3]),
        (None, "2", [1, 2, 3]),
        (0, "2", []),
        (1, "3", [1, 2, 3, 4]),
        (9, "0", []),
    ],
)
def test_the_project_s_rule_counts_before_the_site_s(
    history: Callable[..., UUID],
    monkeypatch: pytest.MonkeyPatch,
    keep: int | None,
    site: str,
    gone: list[int],
) -> None:
    monkeypatch.setattr(get_settings(), "keep_policies", int(site))
    project_id = history(keep_policies=keep)
    assert would_go(project_id) == gone
    work.retain()
    assert retired(project_id) == gone
    assert there(project_id) == [1, 2, 3, 4, 5], "files stay for an hour"
    an_hour_later()
    assert work.retain() == len(gone)
    assert there(project_id) == [n for n in range(1, 6) if n not in gone]
    assert work.retain() == 0


def test_current_best_pinned_and_those_of_an_open_round_stay(
    history: Callable[..., UUID],
) -> None:
    project_id = history(8, {2: 0.9, 7: 0.6, 8: 0.7}, keep_policies=1)
    with transaction() as session:
        project = session.get_one(Project, project_id)
        actions.pin(session, project, policy_of(project_id, 3).id, True, None)
        actions.make_current(session, project, policy_of(project_id, 4).id, None)
    round_id = open_round(project_id)
    with transaction() as session:
        session.get_one(Round, round_id).policy_out_id = policy_of(project_id, 5).id
    work.retain()
    # 8 is the newest, 2 the best, 3 pinned, 4 current and what the round starts from, 5 its outcome
    assert retired(project_id) == [1, 6, 7]
    with transaction() as session:
        session.get_one(Round, round_id).state = "cancelled"
    work.retain()
    assert retired(project_id) == [1, 5, 6, 7]


def test_what_went_is_told_and_is_used_by_nobody(history: Callable[..., UUID]) -> None:
    project_id = history(3, keep_policies=1)
    work.retain()
    gone = policy_of(project_id, 1)
    with transaction() as session:
        events = session.scalars(
            select(Event).where(Event.kind == "policy.retired").order_by(Event.id)
        ).all()
        assert [event.data["number"] for event in events] == [1, 2]
        assert events[0].data | {"bytes": 7, "keep": 1} == events[0].data
        project = session.get_one(Project, project_id)
        for refused in (actions.make_current, lambda *a: actions.pin(*a[:3], True, None)):
            with pytest.raises(Conflict, match="rule of retention"):
                refused(session, project, gone.id, None)
    for made in (download.as_stored, download.merged):
        with pytest.raises(Conflict, match="rule of retention"):
            made(gone)
    with pytest.raises(ActiveDPOError, match="policy 1 has no files"):
        models.at("tiny", gone)
    assert gone.files == {}
    assert gone.size_bytes == 7


def test_the_database_lets_no_pinned_policy_and_no_base_go(history: Callable[..., UUID]) -> None:
    project_id = history(1)
    with transaction() as session:
        session.get_one(Policy, policy_of(project_id, 1).id).pinned = True
    for number in (0, 1):
        with pytest.raises(IntegrityError, match="ck_policies_removed"), transaction() as session:
            session.execute(
                text("UPDATE policies SET removed_at = now() WHERE number = :n"), {"n": number}
            )


def looked(folder: Path) -> int:
    """Exit code of another process that has one look."""
    return subprocess.run(
        [sys.executable, "-c", "import app.models, worker.retention as w; w.retain()"],
        env=os.environ | {"ACTIVEDPO_FAULTS": str(folder)},
        check=False,
    ).returncode


@pytest.mark.parametrize("point", ["retention.retired", "retention.removed"])
def test_a_look_that_is_killed_is_carried_on_by_the_next(
    history: Callable[..., UUID], tmp_path: Path, point: str
) -> None:
    project_id = history(4, keep_policies=2)
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / f"{point}.kill").touch()
    if point == "retention.removed":
        work.retain()
        an_hour_later()
    assert looked(faults) == -signal.SIGKILL
    assert retired(project_id) == [1, 2], "the rows said so first"
    if point == "retention.retired":
        assert there(project_id) == [1, 2, 3, 4]
        an_hour_later()
    else:
        assert there(project_id) == [2, 3, 4]
        assert policy_of(project_id, 1).reclaimed_at is None
    assert looked(faults) == 0
    assert there(project_id) == [3, 4]
    assert policy_of(project_id, 1).reclaimed_at is not None
    with transaction() as session:
        assert retention.waiting(session) == (0, 0)


def blocked() -> bool:
    """Whether some other transaction waits for a lock; asked anew, as one look keeps its answer."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with get_engine().connect() as connection:
        return bool(connection.scalar(text(query)))


def test_a_policy_made_current_at_the_same_time_stays(history: Callable[..., UUID]) -> None:
    project_id = history(3, keep_policies=1)
    with transaction() as session:
        project = session.get_one(Project, project_id)
        actions.make_current(session, project, policy_of(project_id, 1).id, None)
        # the other's look waits for the lock, and then sees what was chosen
        waiting = subprocess.Popen(
            [sys.executable, "-c", "import app.models, worker.retention as w; w.retain()"]
        )
        wait_for(blocked)
        assert waiting.poll() is None
    assert waiting.wait(60) == 0
    assert retired(project_id) == [2]


def test_this_host_forgets_copies_and_checkpoints_that_nobody_needs(
    history: Callable[..., UUID],
) -> None:
    project_id = history(2, keep_policies=1)
    work.retain()
    home = get_settings().home
    cached = [
        home / "cache" / "policies" / "projects" / str(project_id) / "rounds" / name
        for name in ("1/train-1", "2/train-1", "1/train-2")
    ]
    with transaction() as session:
        session.execute(text("DELETE FROM runs"))
        round = session.scalars(select(Round).where(Round.number == 2)).one()
        runs = [
            Run(project_id=project_id, round_id=round.id, kind=kind, state=state)
            for kind, state in (("train", "failed"), ("evaluate", "done"))
        ]
        session.add_all(runs)
        session.flush()
        scratch = [home / "scratch" / f"train-{id}" for id in (runs[0].id, runs[1].id, uuid4())]
    young = home / "scratch" / f"train-{uuid4()}"
    for folder in (*cached, *scratch, young):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"x")
    for folder in (*cached, *scratch):
        os.utime(folder, (time.time() - 3600,) * 2)
    assert work.tidy() == 4
    assert [folder.exists() for folder in cached] == [False, True, False]
    assert [folder.exists() for folder in scratch] == [True, False, False], "a failed one resumes"
    assert young.exists()


def test_the_command_says_first_and_does_when_asked(history: Callable[..., UUID]) -> None:
    project_id = history(3, keep_policies=1)

    def said(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "app.cli", "retention", "--json", *options]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    dry = said()
    assert [one["number"] for one in dry["policies"]] == [1, 2]
    assert retired(project_id) == []
    assert said("--apply")["policies"] == dry["policies"]
    assert retired(project_id) == [1, 2]
    assert said()["policies"] == []
