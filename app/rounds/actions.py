"""What may happen to a round, one function a verb.

Each move is one compare-and-set under the round's lock, recorded as an event in the same
transaction. Callers commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import cycle, islice

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import jobs
from app.errors import Conflict
from app.labelling.models import Claim, Preference
from app.labelling.queries import one_of
from app.language import _, stored
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.projects.models import Pair, Project
from app.quality.models import is_set_aside
from app.rounds import queries, selection
from app.rounds.events import record
from app.rounds.models import CLOSED, Round, Run, TrainingLabel
from app.settings import get_settings

WAKE = "activedpo.round"
STAGE_OF_KIND = {"generate": "generating", "train": "training", "evaluate": "evaluating"}
KIND_OF_STAGE = {stage: kind for kind, stage in STAGE_OF_KIND.items()}


def move(session: Session, round: Round, to: str, person_id: uuid.UUID | None = None) -> None:
    """Change a locked round's state and say so."""
    before, round.state = round.state, to
    if to in CLOSED:
        round.finished_at = func.now()
    session.flush()
    record(
        session,
        f"round.{to}",
        project_id=round.project_id,
        round_id=round.id,
        person_id=person_id,
        before=before,
    )


def open_round(session: Session, project: Project, person_id: uuid.UUID | None) -> Round:
    """Open the project's next round and plan its model work, if it needs any.

    Raises:
        Conflict: a round is open already, or there is nothing to ask about.
    """
    project = queries.lock_project(session, project.id)
    if project.archived:
        raise Conflict(_("The project is archived: take it out of the archive first."))
    already = queries.open_round_of(session, project.id)
    if already is not None:
        raise Conflict(
            _(
                "Round %(number)s is still %(state)s: finish or cancel it first.",
                number=already.number,
                state=stored(already.state),
            ),
            round=str(already.id),
        )
    number = queries.last_number(session, project.id) + 1
    round = Round(
        project_id=project.id,
        number=number,
        needed=project.batch_size,
        policy_in_id=project.policy_id,
        seed=project.seed * 1_000_003 + number,
        started_by=person_id,
        stage="queued",
    )
    session.add(round)
    session.flush()
    record(session, "round.queued", project_id=project.id, round_id=round.id, person_id=person_id)
    if project.source == "imported":
        _plan_imported(session, round, project)
    else:
        _plan_generation(session, round, project)
    return round


def _plan_generation(session: Session, round: Round, project: Project) -> None:
    size = project.effective_pool_size
    prompts = queries.sample_prompts(session, project, size, round.seed)
    if not prompts:
        raise Conflict(_("The project has no train prompts: import some, then open a round."))
    reused = sum(prompt.times_used > 0 for prompt in prompts) + max(0, size - len(prompts))
    kept = queries.wanted_in_pool(session, project.id)
    session.execute(update(Pair).where(Pair.id.in_(kept)).values(round_id=round.id))
    round.metrics = {"prompts_reused": reused, "pool": size + len(kept)}
    ids = [str(prompt.id) for prompt in islice(cycle(prompts), size)]
    _add_generation(session, round, {"prompts": ids, "pairs": [str(id) for id in kept]})


def _plan_imported(session: Session, round: Round, project: Project) -> None:
    if project.acquisition == "random":
        selection.select_at_random(session, round, project)
        _require_something(session, project, round.needed)
        open_labelling(session, round, project)
        return
    ids = queries.sample_pool(session, project.id, project.pool_size, round.seed)
    _require_something(session, project, len(ids))
    if not ids:
        round.needed = 0
        open_labelling(session, round, project)
        return
    session.execute(update(Pair).where(Pair.id == one_of(ids)).values(round_id=round.id))
    round.needed = min(round.needed, len(ids))
    _add_generation(session, round, {"pairs": [str(id) for id in ids]})


def _require_something(session: Session, project: Project, pairs: int) -> None:
    """Pairs to ask about or, where all were labelled before they came, labels to train on."""
    if pairs == 0 and not queries.has_unfixed_labels(session, project):
        raise Conflict(_("No imported pair is waiting: import pairs, then open a round."))


def _add_generation(session: Session, round: Round, work: dict[str, list[str]]) -> None:
    step = get_settings().shard_prompts
    parts = [
        {what: ids[start : start + step]}
        for what, ids in work.items()
        for start in range(0, len(ids), step)
    ]
    for shard, part in enumerate(parts):
        (ids,) = part.values()
        _add_run(session, round, "generate", shard, part, total=len(ids))
    round.progress_total = sum(map(len, work.values()))
    move(session, round, "generating")
    ring_for(session, round.id, "generate")


def _add_run(
    session: Session,
    round: Round,
    kind: str,
    shard: int = 0,
    input: dict[str, list[str]] | None = None,
    total: int = 0,
) -> None:
    """Insert a run unless it is there: a second completion of a batch changes nothing."""
    session.execute(
        insert(Run)
        .values(
            project_id=round.project_id,
            round_id=round.id,
            kind=kind,
            shard=shard,
            input=input or {},
            total=total,
        )
        .on_conflict_do_nothing()
    )


def start_run(session: Session, round: Round, kind: str) -> None:
    """Go on to the stage of ``kind`` and wake a worker for it."""
    _add_run(session, round, kind)
    round.stage, round.progress_done, round.progress_total = kind, 0, 0
    move(session, round, STAGE_OF_KIND[kind])
    ring_for(session, round.id, kind)


def ring_for(session: Session, round_id: uuid.UUID, kind: str) -> None:
    """Wake a worker that does runs of ``kind``."""
    jobs.ring(session, WAKE, round_id, queue=jobs.queue_of(kind))


def open_labelling(session: Session, round: Round, project: Project) -> None:
    """The batch is chosen: take labels, or end the round where there is nothing to ask."""
    round.stage, round.progress_done, round.progress_total = "labelling", 0, round.needed
    move(session, round, "labelling")
    if round.needed == 0:
        complete_batch(session, round, project)
    else:
        oracles.wake_in(session, project.id)


def count_answered(session: Session, round: Round, project: Project) -> None:
    """A pair of the round has all its answers: the M-th completes the batch."""
    round.answered += 1
    round.progress_done = round.answered
    complete_if_full(session, round, project)


def complete_if_full(session: Session, round: Round, project: Project) -> None:
    """Complete the batch once M pairs have their answers."""
    if round.state == "labelling" and round.answered >= round.needed:
        complete_batch(session, round, project)


def complete_batch(session: Session, round: Round, project: Project) -> None:
    """Fix the labels, ids and versions, and go on to training.

    Every preference of the project so far is in, but for those of people whose labels are set
    aside: the paper retrains on all labels. Where none
    of them would teach the policy anything new, the round ends with the policy it began with.
    """
    session.flush()
    labels = select(sa.literal(round.id), Preference.id, Preference.version).where(
        Preference.project_id == round.project_id,
        Preference.deleted_at.is_(None),
        Preference.is_label,
        ~is_set_aside(),
    )
    session.execute(
        insert(TrainingLabel)
        .from_select(["round_id", "preference_id", "version"], labels)
        .on_conflict_do_nothing()
    )
    fixed = select(TrainingLabel.preference_id).where(TrainingLabel.round_id == round.id)
    session.execute(
        update(Preference)
        .where(
            Preference.project_id == round.project_id,
            Preference.frozen_in.is_(None),
            Preference.deleted_at.is_(None),
            Preference.evaluation_id.is_(None),
            # what is set aside, or gold, is not trained on, and changed no more than the rest
            Preference.id.in_(fixed) | Preference.gold | is_set_aside(),
        )
        .values(frozen_in=round.id)
    )
    close_pairs(session, round, project)
    record(
        session,
        "batch.complete",
        project_id=round.project_id,
        round_id=round.id,
        answered=round.answered,
    )
    if queries.has_new_labels(session, round, project):
        start_run(session, round, "train")
    else:
        _end_untrained(session, round)


def _end_untrained(session: Session, round: Round) -> None:
    round.policy_out_id = round.policy_in_id
    round.metrics = {
        **round.metrics,
        "note": _("No label to train on came out of this round: the policy stays as it was."),
        "win_rate": None,
        "win_rate_reason": "nothing was trained",
    }
    move(session, round, "done")


def close_pairs(session: Session, round: Round, project: Project) -> None:
    """Pairs of a round that takes no more labels: imported ones wait for another round."""
    answered = select(Claim.pair_id).where(Claim.pair_id == Pair.id, Claim.state == "answered")
    mine = sa.and_(Pair.round_id == round.id, Pair.state.in_(("open", "pool")))
    session.execute(update(Pair).where(mine, answered.exists()).values(state="answered"))
    if project.source == "imported":
        session.execute(
            update(Pair)
            .where(mine)
            .values(state="pool", round_id=None, rank=None, audit_rank=None, audit=False)
        )
    else:
        session.execute(update(Pair).where(mine).values(state="unused"))


def cancel(session: Session, round: Round, person_id: uuid.UUID | None = None) -> Round:
    """Stop a round for good; its labels stay and train in the next one.

    Raises:
        Conflict: it is done or cancelled already.
    """
    round = _locked(session, round)
    if round.state in CLOSED:
        raise Conflict(
            _(
                "Round %(number)s is %(state)s: there is nothing to cancel.",
                number=round.number,
                state=stored(round.state),
            )
        )
    project = session.get_one(Project, round.project_id)
    session.execute(
        update(Run)
        .where(Run.round_id == round.id, Run.state.in_(("queued", "running", "failed")))
        .values(state="cancelled", cancel_requested=True)
    )
    close_pairs(session, round, project)
    move(session, round, "cancelled", person_id)
    return round


def retry(session: Session, round: Round, person_id: uuid.UUID | None = None) -> Round:
    """Take a failed round up again at the stage that failed.

    Raises:
        Conflict: it has not failed.
    """
    round = _locked(session, round)
    if round.state != "failed" or round.failed_stage is None:
        raise Conflict(
            _(
                "Round %(number)s is %(state)s: only a failed round is retried.",
                number=round.number,
                state=stored(round.state),
            )
        )
    session.execute(
        update(Run)
        .where(Run.round_id == round.id, Run.state == "failed")
        .values(state="queued", stuck=0, error=None, lease_owner=None, lease_expires_at=None)
    )
    stage, round.error, round.failed_stage = round.failed_stage, None, None
    move(session, round, stage, person_id)
    ring_for(session, round.id, KIND_OF_STAGE[stage])
    return round


def train_now(session: Session, round: Round, person_id: uuid.UUID | None = None) -> Round:
    """Go on with the labels there are.

    Raises:
        Conflict: the round is not taking labels.
    """
    round = _locked(session, round)
    if round.state != "labelling":
        raise Conflict(
            _(
                "Round %(number)s is %(state)s: only labelling can be cut short.",
                number=round.number,
                state=stored(round.state),
            )
        )
    round.needed = round.answered
    record(
        session,
        "round.cut_short",
        project_id=round.project_id,
        round_id=round.id,
        person_id=person_id,
        answered=round.answered,
    )
    complete_batch(session, round, session.get_one(Project, round.project_id))
    return round


def free_leases(session: Session, owner_prefix: str) -> int:
    """Give back the holds of a process that is known to be dead; returns how many."""
    freed: Iterable[Run] = session.scalars(
        update(Run)
        .where(Run.state == "running", Run.lease_owner.startswith(owner_prefix, autoescape=True))
        .values(state="queued", lease_owner=None, lease_expires_at=None)
        .returning(Run)
    ).all()
    for run in freed:
        ring_for(session, run.owner_id, run.kind)
    for oracle in oracle_queries.free_leases(session, owner_prefix):
        oracles.wake(session, oracle)
    return len(list(freed))


def _locked(session: Session, round: Round) -> Round:
    locked = queries.lock_round(session, round.id)
    assert locked is not None, "a round is never deleted while somebody looks at it"
    return locked
