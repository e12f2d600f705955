"""Puts right what crashes left: lost leases, lost bells, expired claims, orphaned folders."""

from __future__ import annotations

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import artifacts, jobs
from app.database import transaction
from app.idempotency import actions as idempotency
from app.imports import actions as imports
from app.labelling import queries as labelling
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.oracles import webhooks
from app.oracles.models import Oracle
from app.playground import queries as trials
from app.policies.models import Policy
from app.rounds import runs
from app.rounds.models import Round, Run
from app.system import actions as system
from worker import train

log = structlog.get_logger()
SWEEP_AFTER_SECONDS = 600
"""How long a finished training's other attempts may still be writing, before they are swept."""


def reconcile() -> None:
    """One look at everything; each part in a transaction of its own."""
    with transaction() as session:
        requeued = runs.requeue_expired(session)
    with transaction() as session:
        waiting = runs.wake(session)
    with transaction() as session:
        labelling.expire_claims(session)
    with transaction() as session:
        for oracle_id, _, _ in oracle_queries.with_work(session):
            oracles.wake(session, session.get_one(Oracle, oracle_id))
    with transaction() as session:
        idempotency.forget_old(session)
    with transaction() as session:
        trials.forget_expired(session)
    with transaction() as session:
        system.forget_silent(session)
    with transaction() as session:
        webhooks.forget_old(session)
        if webhooks.any_due(session):
            jobs.ring(session, webhooks.WAKE, queue="default")
    imports.forget_old()
    swept = sweep()
    if requeued or swept:
        log.info("reconciled", requeued=requeued, waiting=waiting, swept=swept)


def sweep() -> int:
    """Remove the folders of attempts that no policy refers to; how many trainings were swept."""
    with transaction() as session:
        left = [(run.id, _orphans(session, run)) for run in _finished(session)]
    for _, paths in left:
        for path in paths:
            artifacts.remove_folder(path)
    with transaction() as session:
        for run_id, _ in left:
            run = session.get_one(Run, run_id)
            train.clear_scratch(run)
            run.output = {**run.output, "swept": True}
    return len(left)


def _finished(session: Session) -> list[Run]:
    age = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, SWEEP_AFTER_SECONDS)
    return list(
        session.scalars(
            select(Run)
            .join(Round, Round.id == Run.round_id)
            .where(
                Run.kind == "train",
                Run.state.in_(("done", "cancelled")),
                Round.updated_at < age,
                Run.output["swept"].as_boolean().is_not(True),
            )
            .limit(100)
        )
    )


def _orphans(session: Session, run: Run) -> list[str]:
    round = session.get_one(Round, run.round_id)
    attempts = {train.path_of(run, round.number, n) for n in range(1, run.attempt + 1)}
    kept = session.scalars(select(Policy.path).where(Policy.path.in_(attempts)))
    return sorted(attempts - set(kept))
