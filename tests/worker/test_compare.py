"""A blind evaluation's completions: written by workers, once, whatever is killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from app.database import transaction
from app.evaluations import actions, outputs
from app.evaluations.actions import Asked, Side
from app.evaluations.models import Evaluation
from app.models import Event, Pair, Policy, Project, Run
from app.projects import content
from app.projects.models import Prompt
from app.projects.row import Row
from app.rounds import runs
from app.settings import get_settings
from tests.worker.conftest import Worker, one_round, policies_of, wait_for
from worker.device import Device

Make = Callable[..., UUID]


def evaluate(project_id: UUID, a: Side, b: Side, **more: Any) -> UUID:
    with transaction() as session:
        project = session.get_one(Project, project_id)
        return actions.create(session, project, Asked(a, b, **more), None).id


def now(evaluation_id: UUID) -> Evaluation:
    with transaction() as session:
        return session.get_one(Evaluation, evaluation_id)


def pairs(evaluation_id: UUID) -> list[Pair]:
    with transaction() as session:
        query = select(Pair).where(Pair.evaluation_id == evaluation_id)
        return list(session.scalars(query.order_by(Pair.rank)))


def bring(project_id: UUID, texts: list[str]) -> UUID:
    """Outputs to the eval prompts, whose hashes are made real for it."""
    with transaction() as session:
        project = session.get_one(Project, project_id)
        mine = (Prompt.project_id == project_id) & (Prompt.split == "eval")
        prompts = session.scalars(select(Prompt).where(mine).order_by(Prompt.id)).all()
        for prompt in prompts:
            prompt.content_hash = content.prompt_hash(prompt.content)
        session.flush()
        rows = [
            Row(n, {"prompt": prompt.content, "completion": said})
            for n, (prompt, said) in enumerate(zip(prompts, texts, strict=True))
        ]
        return outputs.import_outputs(session, project, "other", rows, None)[0].id


def test_a_trained_policy_is_compared_with_the_base(
    project: Make, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "shard_prompts", 2)
    project_id = project(evals=5)
    assert one_round(project_id, device).state == "done"
    base, trained = policies_of(project_id)
    evaluation_id = evaluate(project_id, Side(trained), Side(base), generation={"temperature": 1.0})
    made = now(evaluation_id)
    assert (made.state, made.pairs, made.progress_total) == ("generating", 5, 10)
    device.drain()
    opened = now(evaluation_id)
    assert (opened.state, opened.error, opened.pairs, opened.left_out) == ("open", None, 5, 0)
    assert opened.progress_done == 10
    found = pairs(evaluation_id)
    assert [pair.rank for pair in found] == [0, 1, 2, 3, 4]
    assert all(pair.state == "evaluation" and pair.round_id is None for pair in found)
    assert {pair.completion_a != pair.completion_b for pair in found} == {True}
    with transaction() as session:
        shards = session.scalars(select(Run).where(Run.evaluation_id == evaluation_id)).all()
        assert [(run.kind, run.state, run.attempt) for run in shards] == [
            ("compare", "done", 1)
        ] * 3
        assert all("generating" in run.output["clock"]["stages"] for run in shards)


def test_a_policy_answers_beside_imported_outputs(project: Make, device: Device) -> None:
    project_id = project(evals=3)
    other = bring(project_id, ["one", "two", "three"])
    (base,) = policies_of(project_id)
    evaluation_id = evaluate(project_id, Side(outputs=other), Side(base))
    assert now(evaluation_id).progress_total == 3
    device.drain()
    for pair in pairs(evaluation_id):
        theirs, ours = pair.completion_a, pair.completion_b
        if pair.swapped:
            theirs, ours = ours, theirs
        assert theirs in ("one", "two", "three")
        assert ours not in ("one", "two", "three")


def test_prompts_that_do_not_fit_are_left_out_and_counted(project: Make, device: Device) -> None:
    project_id = project(prompts=2, long_prompts=1, batch_size=1)
    base, other = policies_of(project_id)[0], None
    with transaction() as session:
        twin = Policy(project_id=project_id, number=9, kind="adapter", base_model="x", path="none")
        session.add(twin)
        session.flush()
        other = twin.id
    evaluation_id = evaluate(project_id, Side(base), Side(other), prompts="train")
    device.drain()
    failed = now(evaluation_id)  # an adapter whose files are not there
    assert failed.state == "failed"
    assert failed.error
    with transaction() as session:
        session.execute(
            text("UPDATE evaluations SET policy_b_id = NULL, outputs_b_id = :o"),
            {"o": _outputs_of_train(project_id)},
        )
    with transaction() as session:
        actions.retry(session, session.get_one(Evaluation, evaluation_id), None)
    device.drain()
    opened = now(evaluation_id)
    assert (opened.state, opened.pairs, opened.left_out) == ("open", 2, 1)


def _outputs_of_train(project_id: UUID) -> UUID:
    with transaction() as session:
        project = session.get_one(Project, project_id)
        prompts = session.scalars(select(Prompt).where(Prompt.project_id == project_id)).all()
        for prompt in prompts:
            prompt.content_hash = content.prompt_hash(prompt.content)
        session.flush()
        rows = [Row(n, {"prompt": p.content, "completion": f"t{n}"}) for n, p in enumerate(prompts)]
        return outputs.import_outputs(session, project, "train", rows, None)[0].id


def test_a_hold_that_was_lost_stores_nothing_and_the_next_one_does(
    project: Make, device: Device
) -> None:
    project_id = project(evals=2)
    other = bring(project_id, ["one", "two"])
    evaluation_id = evaluate(project_id, Side(policies_of(project_id)[0]), Side(outputs=other))
    with transaction() as session:
        first = runs.take(session, "host:1:a", 60, ["compare"])
        assert first is not None
    with transaction() as session:
        assert runs.renew(session, first.id, first.attempt, 60, 1, 2, "generating")
        session.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 s'"))
    assert now(evaluation_id).progress_done == 1
    with transaction() as session:
        assert runs.requeue_expired(session) == 1
    with transaction() as session:
        assert runs.hold(session, first.id, first.attempt) is None
    device.drain()
    assert (now(evaluation_id).state, len(pairs(evaluation_id))) == ("open", 2)
    with transaction() as session:
        told = select(Event.kind).where(Event.kind.like("evaluation.%")).order_by(Event.id)
        kinds = list(session.scalars(told))
    assert kinds == ["evaluation.created", "evaluation.opened"]


def test_three_attempts_without_progress_fail_it(project: Make, settings: None) -> None:
    project_id = project(evals=2)
    other = bring(project_id, ["one", "two"])
    evaluation_id = evaluate(project_id, Side(policies_of(project_id)[0]), Side(outputs=other))
    for _ in range(3):
        with transaction() as session:
            assert runs.take(session, "host:1:a", 60, ["compare"]) is not None
            session.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 s'"))
        with transaction() as session:
            runs.requeue_expired(session)
    failed = now(evaluation_id)
    assert failed.state == "failed"
    assert "3 attempts" in (failed.error or "")


def test_a_cancelled_one_is_written_no_further(project: Make, device: Device) -> None:
    project_id = project(evals=2)
    other = bring(project_id, ["one", "two"])
    evaluation_id = evaluate(project_id, Side(policies_of(project_id)[0]), Side(outputs=other))
    with transaction() as session:
        run = runs.take(session, "host:1:a", 60, ["compare"])
        assert run is not None
    with transaction() as session:
        actions.cancel(session, session.get_one(Evaluation, evaluation_id), None)
    with transaction() as session:
        assert not runs.renew(session, run.id, run.attempt, 60, 1, 2, "generating")
    device.drain()
    assert (now(evaluation_id).state, pairs(evaluation_id)) == ("cancelled", [])


def test_a_worker_that_is_killed_costs_an_attempt_and_no_pair(
    project: Make, start_worker: Callable[..., Worker], clock: Worker
) -> None:
    project_id = project(evals=4, generation={"max_new_tokens": 40})
    other = bring(project_id, ["one", "two", "three", "four"])
    first = start_worker()
    evaluation_id = evaluate(project_id, Side(policies_of(project_id)[0]), Side(outputs=other))
    wait_for(lambda: _running(evaluation_id) or now(evaluation_id).state == "open")
    for child in first.children():
        child.kill()
    wait_for(lambda: now(evaluation_id).state == "open")
    assert len(pairs(evaluation_id)) == 4


def _running(evaluation_id: UUID) -> bool:
    with transaction() as session:
        query = select(Run.id).where(Run.evaluation_id == evaluation_id, Run.state == "running")
        return session.scalar(query) is not None
