"""The hold a worker has on model work: taking, renewing, publishing under the fencing number.

Every function that locks both locks the round (or the evaluation or trial whose run it is) first
and the run second, as the actions of people do, so that a cancellation and a heartbeat cannot wait
for each other.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.orm import Session

from app import skew
from app.database import Json
from app.evaluations import queries as evaluations
from app.evaluations.models import Evaluation
from app.playground import queries as trials
from app.playground.models import Trial
from app.rounds import actions, events, queries, stages
from app.rounds.models import Round, Run

MAX_STUCK = 3
"""Attempts without progress after which a run has failed."""

PUBLISH_SECONDS = 300
"""How long the ranking of a large pool may take inside the transaction that opens labelling."""

WAKE_AFTER_SECONDS = 3
"""Age of a waiting run at which its first wake-up call counts as lost."""

# A fair share of the workers for each project: the one that fewest are at work for goes first, of
# those the one served longest ago, and its oldest work. A worker is never idle while work waits.
_TAKE = text(
    """
    UPDATE runs SET state = 'running', attempt = attempt + 1, stuck = stuck + 1,
           lease_owner = :owner, lease_expires_at = now() + make_interval(secs => :seconds),
           started_at = clock_timestamp(), done = 0, error = NULL
    WHERE id = (
        SELECT r.id FROM runs r
        LEFT JOIN (SELECT project_id, count(*) AS runs FROM runs WHERE state = 'running'
                   GROUP BY project_id) held ON held.project_id = r.project_id
        WHERE r.state = 'queued' AND r.kind = ANY(:kinds) AND NOT r.cancel_requested
        ORDER BY r.kind <> 'try',  -- somebody waits for that before a page
                 coalesce(held.runs, 0),
                 (SELECT max(p.started_at) FROM runs p WHERE p.project_id = r.project_id)
                     NULLS FIRST,
                 r.created_at, r.shard
        LIMIT 1
        FOR UPDATE OF r SKIP LOCKED
    )
    RETURNING id
    """
)


def take(session: Session, owner: str, lease_seconds: float, kinds: Sequence[str]) -> Run | None:
    """Hold the next waiting run under a new fencing number, or None when none waits.

    Args:
        owner: ``hostname:pid:uuid`` of the worker process.
        lease_seconds: how long the hold lasts without :func:`renew`.
        kinds: the kinds of run this worker does.

    Raises:
        SkewError: the database is another version's; nothing was taken.
    """
    run_id = session.scalar(_TAKE, {"owner": owner, "seconds": lease_seconds, "kinds": list(kinds)})
    if run_id is None:
        return None
    skew.check(session.connection())
    return session.get_one(Run, run_id, populate_existing=True)


def renew(
    session: Session,
    run_id: uuid.UUID,
    attempt: int,
    lease_seconds: float,
    done: int,
    total: int,
    stage: str,
    checkpoint: str | None = None,
) -> bool:
    """Lengthen the hold and publish progress.

    Args:
        done, total: of ``stage``, in the stage's own units (pairs, steps).
        checkpoint: where a resuming attempt goes on. A new one is progress that lasts, so the
            count of attempts without progress starts again.

    Returns:
        False when the hold was lost or a cancellation is wanted: stop the work, write nothing.
    """
    run = hold(session, run_id, attempt, silence_seconds=lease_seconds)
    if run is None or run.cancel_requested:
        return False
    run.lease_expires_at = func.now() + _seconds(lease_seconds)
    run.done, run.total = done, total
    if checkpoint is not None and checkpoint != run.checkpoint_uri:
        run.checkpoint_uri, run.stuck = checkpoint, 0
    _show_progress(session, run, stage)
    session.flush()
    return True


def hold(
    session: Session, run_id: uuid.UUID, attempt: int, silence_seconds: float = PUBLISH_SECONDS
) -> Run | None:
    """The run with its round, locked to the end of the transaction; None when it is not ours.

    A hold is lost once somebody else took the run or the reconciler put it back. Everything that
    a worker stores goes through here first: whoever lost the lease cannot write.

    Args:
        silence_seconds: how long this process may say nothing before Postgres ends the
            transaction: one that was paused inside it must not keep the round from everybody.
    """
    milliseconds = str(int(1000 * silence_seconds))
    session.execute(
        select(func.set_config("idle_in_transaction_session_timeout", milliseconds, True))
    )
    owner = session.execute(
        select(Run.round_id, Run.evaluation_id, Run.trial_id).where(Run.id == run_id)
    ).one_or_none()
    if owner is None or not _lock_owner(session, *owner):
        return None
    return session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.attempt == attempt, Run.state == "running")
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def wanted(session: Session, run_id: uuid.UUID, attempt: int) -> bool:
    """Whether the hold stands and nobody asked to cancel; locks nothing."""
    found = session.scalar(
        select(Run.id).where(
            Run.id == run_id,
            Run.attempt == attempt,
            Run.state == "running",
            Run.cancel_requested.is_(False),
        )
    )
    return found is not None


@dataclass(frozen=True)
class Left:
    """Where a stopped training goes on: a folder of its host, and `{"path", "files"}` in the
    artefact store, if it is there as well."""

    folder: str
    stored: Json | None


def give_up(session: Session, run: Run, why: str | None, left: Left | None = None) -> None:
    """Put a held run back to be taken anew; call it with what :func:`hold` returned.

    Args:
        why: what went wrong in this attempt; None for a worker that stops in good order, whose
            attempt does not count. The third attempt without progress fails the round.
        left: the checkpoint that it leaves.
    """
    if left is not None:
        run.checkpoint_uri = left.folder
        run.output = {**run.output, "checkpoint": left.stored}
    if why is None:
        run.stuck = max(0, run.stuck - 1)
        _requeue(session, run)
    elif run.stuck >= MAX_STUCK:
        stages.failed(session, run, f"{MAX_STUCK} attempts ended without progress. Last: {why}")
    else:
        run.error = why
        events.record(
            session,
            "run.requeued",
            project_id=run.project_id,
            round_id=run.round_id,
            run=run.kind,
            attempt=run.attempt,
        )
        _requeue(session, run)
    session.flush()


def requeue_expired(session: Session) -> int:
    """Put runs back whose lease ran out; how many there were.

    A round that somebody is writing to is left to the next look, which waits for nobody.
    """
    expired = session.execute(
        select(Run.id, Run.attempt, Run.round_id, Run.evaluation_id, Run.trial_id)
        .where(Run.state == "running", Run.lease_expires_at < func.now())
        .order_by(Run.round_id, Run.id)
    ).all()
    count = 0
    for run_id, attempt, round_id, evaluation_id, trial_id in expired:
        free = select(Round.id).where(Round.id == round_id)
        if evaluation_id is not None:
            free = select(Evaluation.id).where(Evaluation.id == evaluation_id)
        if trial_id is not None:
            free = select(Trial.id).where(Trial.id == trial_id)
        if session.scalar(free.with_for_update(key_share=True, skip_locked=True)) is None:
            continue
        run = hold(session, run_id, attempt)
        if run is not None and not _lease_stands(session, run_id):
            give_up(session, run, run.error or "the worker that held it fell silent")
            count += 1
    return count


def wake(session: Session) -> int:
    """Ring once more for runs that wait longer than a wake-up call takes; how many wait."""
    owner = func.coalesce(Run.round_id, Run.evaluation_id, Run.trial_id)
    waiting = session.execute(
        select(owner, Run.kind, func.count())
        .where(
            Run.state == "queued",
            or_(
                Run.attempt > 0,
                Run.created_at < func.now() - _seconds(WAKE_AFTER_SECONDS),
            ),
        )
        .group_by(owner, Run.kind)
    ).all()
    for owner_id, kind, _ in waiting:
        actions.ring_for(session, owner_id, kind)
    return sum(count for _, _, count in waiting)


def _seconds(seconds: float) -> ColumnElement[dt.timedelta]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _lease_stands(session: Session, run_id: uuid.UUID) -> bool:
    return bool(session.scalar(select(Run.lease_expires_at >= func.now()).where(Run.id == run_id)))


def _requeue(session: Session, run: Run) -> None:
    run.state, run.lease_owner, run.lease_expires_at = "queued", None, None
    actions.ring_for(session, run.owner_id, run.kind)


def _lock_owner(
    session: Session,
    round_id: uuid.UUID | None,
    evaluation_id: uuid.UUID | None,
    trial_id: uuid.UUID | None,
) -> bool:
    if round_id is not None:
        return queries.lock_round(session, round_id) is not None
    if trial_id is not None:
        return trials.lock(session, trial_id) is not None
    return evaluations.lock(session, evaluation_id) is not None


def _show_progress(session: Session, run: Run, stage: str) -> None:
    if run.trial_id is not None:
        return
    if run.evaluation_id is not None:
        evaluation = session.get_one(Evaluation, run.evaluation_id)
        done, total = _others(session, run)
        evaluation.progress_done, evaluation.progress_total = done + run.done, total + run.total
        return
    round = session.get_one(Round, run.round_id)
    if round.state == "queued":
        round.state = "generating"
        events.record(session, "generating", project_id=round.project_id, round_id=round.id)
    done, total = _others(session, run)
    round.stage = stage
    round.progress_done, round.progress_total = done + run.done, total + run.total


def _others(session: Session, run: Run) -> tuple[int, int]:
    """(done, total) of the other shards, so that the owner's progress is their sum."""
    if run.kind not in ("generate", "compare"):
        return 0, 0
    mine = Run.round_id == run.round_id
    if run.evaluation_id is not None:
        mine = Run.evaluation_id == run.evaluation_id
    row = session.execute(
        select(
            func.coalesce(func.sum(Run.total).filter(Run.state == "done"), 0),
            func.coalesce(func.sum(Run.total), 0),
        ).where(mine, Run.kind == run.kind, Run.id != run.id)
    ).one()
    return int(row[0]), int(row[1])
