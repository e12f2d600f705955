"""The hold: one taker a run, and whoever lost it cannot write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.database import transaction
from app.rounds import actions, runs
from app.rounds.models import Round, Run
from tests.worker.conftest import events_of, open_round, round_of, runs_of

KINDS = ["generate", "train", "evaluate"]


def take(owner: str = "host:1:a", seconds: float = 60) -> Run | None:
    with transaction() as session:
        return runs.take(session, owner, seconds, KINDS)


def taken(owner: str = "host:1:a", seconds: float = 60) -> Run:
    run = take(owner, seconds)
    assert run is not None
    return run


def renew(run: Run, done: int = 1, checkpoint: str | None = None) -> bool:
    with transaction() as session:
        return runs.renew(session, run.id, run.attempt, 60, done, 6, "generating", checkpoint)


def expire(run: Run) -> int:
    with transaction() as session:
        session.execute(
            text("UPDATE runs SET lease_expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": run.id},
        )
    with transaction() as session:
        return runs.requeue_expired(session)


def test_a_run_is_taken_once_however_many_ask(project: Callable[..., UUID]) -> None:
    open_round(project())
    found: list[Run | None] = []
    threads = [threading.Thread(target=lambda: found.append(take())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [run for run in found if run is not None]
    assert len(held) == 1
    assert (held[0].attempt, held[0].state) == (1, "running")


def test_projects_take_turns(project: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 2)
    first, second = project(), project()
    open_round(first)
    open_round(second)
    assert [taken().project_id for _ in range(4)] == [first, second, first, second]


def test_the_project_with_the_fewest_at_work_goes_first(
    project: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 1)
    busy, quick = project(), project()
    open_round(busy)
    open_round(quick)
    long = taken()
    assert long.project_id == busy
    # the other's short runs come and go, and it never waits behind the rest of the first one
    for _ in range(4):
        run = taken()
        assert run.project_id == quick
        with transaction() as session:
            session.get_one(Run, run.id).state = "done"


def test_no_worker_is_idle_while_one_project_has_work(
    project: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 2)
    alone = project()
    open_round(alone)
    assert [taken().project_id for _ in range(3)] == [alone] * 3
    assert take() is None


def test_renewing_shows_progress_on_the_round(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    assert renew(taken(), done=3)
    shown = round_of(round_id)
    assert (shown.stage, shown.progress_done, shown.progress_total) == ("generating", 3, 6)


def test_progress_of_shards_adds_up(
    project: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "shard_prompts", 3)
    round_id = open_round(project())
    one, two = taken(), taken()
    with transaction() as session:
        session.get_one(Run, one.id).state = "done"
    with transaction() as session:
        assert runs.renew(session, two.id, two.attempt, 60, 1, 3, "generating")
    shown = round_of(round_id)
    assert (shown.progress_done, shown.progress_total) == (4, 6)


def test_an_expired_hold_goes_to_another_and_the_first_can_write_no_more(
    project: Callable[..., UUID],
) -> None:
    open_round(project())
    first = taken("host:1:a")
    assert expire(first) == 1
    second = taken("host:2:b")
    assert second.id == first.id
    assert second.attempt == first.attempt + 1
    assert not renew(first)
    with transaction() as session:
        assert runs.hold(session, first.id, first.attempt) is None
        assert runs.hold(session, second.id, second.attempt) is not None


def test_a_requeued_run_cannot_be_published_by_who_held_it(project: Callable[..., UUID]) -> None:
    open_round(project())
    first = taken()
    expire(first)
    with transaction() as session:
        assert runs.hold(session, first.id, first.attempt) is None


def test_a_hold_in_time_is_not_requeued(project: Callable[..., UUID]) -> None:
    open_round(project())
    taken()
    with transaction() as session:
        assert runs.requeue_expired(session) == 0


def test_three_attempts_without_progress_fail_the_round(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    for _ in range(3):
        expire(taken())
    failed = round_of(round_id)
    assert (failed.state, failed.failed_stage) == ("failed", "generating")
    assert "3 attempts" in (failed.error or "")
    assert take() is None
    assert len(events_of(round_id, "run.requeued")) == 2


def test_a_checkpoint_is_progress(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    for n in range(4):
        run = taken()
        assert renew(run, checkpoint=f"checkpoints/{n}")
        expire(run)
    assert round_of(round_id).state == "generating"


def test_a_worker_that_stops_in_good_order_costs_no_attempt(
    project: Callable[..., UUID],
) -> None:
    round_id = open_round(project())
    for _ in range(5):
        run = taken()
        with transaction() as session:
            mine = runs.hold(session, run.id, run.attempt)
            assert mine is not None
            runs.give_up(session, mine, None)
    assert round_of(round_id).state == "generating"
    assert runs_of(round_id, "generate")[0].stuck == 0


def test_a_cancelled_run_is_not_renewed_nor_taken(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    run = taken()
    with transaction() as session:
        assert runs.wanted(session, run.id, run.attempt)
        actions.cancel(session, session.get_one(Round, round_id))
    with transaction() as session:
        assert not runs.wanted(session, run.id, run.attempt)
    assert not renew(run)
    assert take() is None


def test_a_forgotten_run_is_rung_for_again(project: Callable[..., UUID]) -> None:
    round_id = open_round(project())
    with transaction() as session:
        assert runs.wake(session) == 0
        session.execute(text("UPDATE runs SET created_at = now() - interval '1 minute'"))
    with transaction() as session:
        assert runs.wake(session) == 1
        assert ("activedpo.round", "generate", (str(round_id),)) in session.info["bells"]


def test_a_worker_paused_inside_a_transaction_locks_nobody_out(
    project: Callable[..., UUID], database: Engine
) -> None:
    open_round(project())
    run = taken()
    with Session(database) as paused:  # it says nothing more, and never lets go by itself
        assert runs.renew(paused, run.id, run.attempt, 1, 0, 6, "generating")
        with transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '30s'"))
            assert runs.hold(session, run.id, run.attempt) is not None
        with pytest.raises(DBAPIError):
            paused.execute(text("SELECT 1"))
        paused.invalidate()


def test_the_reconciler_waits_for_no_lock(project: Callable[..., UUID], database: Engine) -> None:
    open_round(project())
    run = taken()
    with transaction() as session:
        session.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 s'"))
    with Session(database) as writing:
        assert runs.hold(writing, run.id, run.attempt) is not None
        with transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert runs.requeue_expired(session) == 0
        writing.rollback()
    with transaction() as session:
        assert runs.requeue_expired(session) == 1
