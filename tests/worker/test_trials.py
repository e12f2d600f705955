"""A trial of the playground: answered before other work, forgotten, or kept as a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from app.database import transaction
from app.errors import Conflict, Invalid, TooMany
from app.models import Pair, Policy, Project, Run, Trial
from app.playground import actions, queries
from app.playground.actions import Wanted
from app.rounds import runs
from tests.worker.conftest import make_person, one_round, open_round, policies_of, round_of
from worker.device import Device

Make = Callable[..., UUID]
KINDS = ["generate", "train", "evaluate", "compare", "try"]


def ask(project_id: UUID, by: UUID | None = None, **more: Any) -> UUID:
    (base, *others) = policies_of(project_id)
    values = {"prompt": "Say something", "a": (others or [base])[-1], "b": base, **more}
    with transaction() as session:
        project = session.get_one(Project, project_id)
        return actions.ask(session, project, Wanted(**values), by or make_person()).id


def now(trial_id: UUID) -> Trial:
    with transaction() as session:
        return session.get_one(Trial, trial_id)


def keep(project_id: UUID, trial_id: UUID) -> UUID:
    with transaction() as session:
        project, trial = session.get_one(Project, project_id), session.get_one(Trial, trial_id)
        return actions.keep(session, project, trial, make_person())


def test_two_policies_answer_one_prompt(project: Make, device: Device) -> None:
    project_id = project()
    assert one_round(project_id, device).state == "done"
    trial_id = ask(project_id, temperature=1.0, max_new_tokens=5)
    device.drain()
    done = now(trial_id)
    assert (done.state, done.error, done.pair_id) == ("done", None, None)
    assert done.completion_a != done.completion_b
    assert done.expires_at > done.created_at
    with transaction() as session:
        assert session.scalar(select(func.count()).where(Pair.wanted)) == 0


def test_it_comes_before_work_that_waits(project: Make) -> None:
    project_id = project()
    open_round(project_id)
    ask(project_id)
    with transaction() as session:
        first = runs.take(session, "host:1:a", 60, KINDS)
        assert first is not None
        assert first.kind == "try"


def test_a_prompt_that_does_not_fit_says_so(project: Make, device: Device) -> None:
    trial_id = ask(project(), prompt="long " * 400)
    device.drain()
    failed = now(trial_id)
    assert failed.state == "failed"
    assert "context" in (failed.error or "")


def test_a_cancelled_one_is_not_answered(project: Make, device: Device) -> None:
    trial_id = ask(project())
    with transaction() as session:
        actions.cancel(session, session.get_one(Trial, trial_id))
    device.drain()
    assert (now(trial_id).state, now(trial_id).completion_a) == ("cancelled", None)
    with pytest.raises(Conflict), transaction() as session:
        actions.cancel(session, session.get_one(Trial, trial_id))


def test_a_lost_hold_answers_nothing_and_the_third_attempt_is_the_last(project: Make) -> None:
    trial_id = ask(project())
    for _ in range(3):
        with transaction() as session:
            held = runs.take(session, "host:1:a", 60, KINDS)
            assert held is not None
            session.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 s'"))
        with transaction() as session:
            assert runs.requeue_expired(session) == 1
        with transaction() as session:
            assert runs.hold(session, held.id, held.attempt) is None
    assert now(trial_id).state == "failed"
    assert "3 attempts" in (now(trial_id).error or "")


def test_what_is_over_time_is_forgotten_with_its_work(project: Make) -> None:
    project_id = project()
    old, new = ask(project_id), ask(project_id)
    with transaction() as session:
        session.execute(
            text("UPDATE trials SET expires_at = now() - interval '1 s' WHERE id = :id"),
            {"id": old},
        )
    with transaction() as session:
        assert queries.forget_expired(session) == 1
    with transaction() as session:
        assert session.get(Trial, old) is None
        assert session.get(Trial, new) is not None
        assert session.scalars(select(Run.trial_id)).all() == [new]


def test_one_person_may_try_so_much_and_no_more(
    project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, ann, ben = project(), make_person(), make_person()
    for _ in range(actions.MOST_WAITING):
        ask(project_id, ann)
    with pytest.raises(TooMany, match="wait already"):
        ask(project_id, ann)
    ask(project_id, ben)
    with transaction() as session:
        session.execute(text("UPDATE trials SET state = 'cancelled'"))
    monkeypatch.setattr(actions, "MOST_AN_HOUR", 4)
    ask(project_id, ann)
    with pytest.raises(TooMany, match="in an hour") as refused:
        ask(project_id, ann)
    assert 0 < refused.value.extra["retry_after"] <= 3600


def test_only_what_the_project_has_is_asked(project: Make) -> None:
    project_id, other = project(), project()
    for wrong, field in (
        ({"prompt": "  "}, "prompt"),
        ({"a": policies_of(other)[0]}, "a"),
    ):
        with pytest.raises(Invalid) as refused:
            ask(project_id, **wrong)
        assert refused.value.extra["errors"][0]["field"] == field


def answered(project_id: UUID, a: str = "one", b: str = "another") -> UUID:
    """A trial as a worker would have answered it."""
    trial_id = ask(project_id)
    with transaction() as session:
        run = session.scalars(select(Run).where(Run.trial_id == trial_id)).one()
        actions.answered(session, run, {"a": (a, True), "b": (b, False)})
    return trial_id


def test_a_kept_pair_is_asked_about_before_what_the_acquisition_chooses(
    project: Make, device: Device
) -> None:
    project_id = project(batch_size=2, pool_size=6)
    pair_id = keep(project_id, trial_id := answered(project_id))
    assert keep(project_id, trial_id) == pair_id  # again: the same
    round_id = open_round(project_id)
    device.drain()
    round = round_of(round_id)
    assert (round.state, round.needed, round.metrics["pool"]) == ("labelling", 2, 7)
    with transaction() as session:
        pair = session.get_one(Pair, pair_id)
        assert (pair.state, pair.round_id) == ("open", round_id)
        assert (pair.rank, pair.margin) == (0, 0.0)
        texts = {pair.completion_a: pair.finished_a, pair.completion_b: pair.finished_b}
        assert texts == {"one": True, "another": False}


def test_among_imported_pairs_it_comes_first_and_is_no_audit(project: Make) -> None:
    project_id = project(
        source="imported", acquisition="random", batch_size=2, pool_size=None, audit_fraction=0.5
    )
    with transaction() as session:
        from app.projects import imports
        from app.projects.row import Row

        rows = [
            Row(n, {"prompt": f"p{n}", "completion_a": "a", "completion_b": "b"}) for n in range(8)
        ]
        imports.import_pairs(session, session.get_one(Project, project_id), rows)
    pair_id = keep(project_id, answered(project_id))
    open_round(project_id)
    with transaction() as session:
        chosen = session.scalars(select(Pair).where(Pair.state == "open")).all()
        assert len(chosen) == 2
        assert [pair.audit for pair in chosen if pair.id == pair_id] == [False]
        assert sum(pair.audit for pair in chosen) == 1


def test_what_has_nothing_to_compare_is_not_kept(project: Make) -> None:
    project_id = project()
    with pytest.raises(Conflict, match="answered"):
        keep(project_id, ask(project_id))
    with pytest.raises(Conflict, match="the same"):
        keep(project_id, answered(project_id, "x", "x"))
    keep(project_id, answered(project_id))
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Policy)) == 1
