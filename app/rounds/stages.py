"""What the end of a worker's run does to its round.

The worker calls these in the transaction that stores the run's outcome, under the fencing
check: a run that was lost stores nothing and moves nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.evaluations import actions as evaluations
from app.playground import actions as trials
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds import actions, queries, selection
from app.rounds.events import record
from app.rounds.models import Round, Run


def _round_in(session: Session, run: Run, state: str) -> Round | None:
    assert run.round_id is not None, "work of an evaluation or a trial moves no round"
    round = queries.lock_round(session, run.round_id)
    return round if round is not None and round.state == state else None


def _finish(run: Run) -> None:
    run.state, run.error, run.finished_at = "done", None, func.now()


def generated(session: Session, run: Run) -> None:
    """A shard's pairs are stored; the last shard selects the batch and opens labelling."""
    _finish(run)
    session.flush()
    round = _round_in(session, run, "generating")
    if round is None or queries.unfinished_shards(session, round.id):
        return
    project = session.get_one(Project, round.project_id)
    selection.select_batch(session, round, project)
    actions.open_labelling(session, round, project)


def trained(session: Session, run: Run, policy: Policy) -> None:
    """The trained policy is in the artefact store: record it and go on to evaluation."""
    _finish(run)
    round = _round_in(session, run, "training")
    if round is None:
        return
    session.add(policy)
    session.flush()
    round.policy_out_id = policy.id
    round.metrics = {**round.metrics, **policy.metrics}
    record(
        session,
        "policy.published",
        project_id=round.project_id,
        round_id=round.id,
        policy=str(policy.id),
    )
    actions.start_run(session, round, "evaluate")


def evaluated(session: Session, run: Run, metrics: dict[str, Any]) -> None:
    """The round is done: its policy is the project's, and the next round may open."""
    _finish(run)
    round = _round_in(session, run, "evaluating")
    if round is None:
        return
    project = queries.lock_project(session, round.project_id)
    round.metrics = {**round.metrics, **metrics}
    if round.policy_out_id is not None:
        policy = session.get_one(Policy, round.policy_out_id)
        policy.metrics = {**policy.metrics, **metrics}
        project.policy_id = policy.id
    actions.move(session, round, "done")
    if project.auto_next and not project.archived:
        actions.open_round(session, project, None)


def failed(session: Session, run: Run, message: str) -> None:
    """The run cannot go on by itself: the round fails at this stage and says why."""
    run.state, run.error = "failed", message
    session.flush()
    if run.evaluation_id is not None:
        evaluations.failed(session, run.evaluation_id, message)
        return
    if run.trial_id is not None:
        trials.failed(session, run.trial_id, message)
        return
    stage = actions.STAGE_OF_KIND[run.kind]
    round = _round_in(session, run, stage)
    if round is None:
        return
    round.error, round.failed_stage = message, stage
    actions.move(session, round, "failed")
