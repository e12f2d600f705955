"""What may happen to an evaluation, one function a verb.

It is opened by a manager, its completions are written by workers, people answer, and it ends by
enough evidence, by the last answer, or by a manager. Callers commit.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from activedpo.sequential import refuted
from app import jobs
from app.errors import Conflict, Invalid
from app.evaluations import queries
from app.evaluations.models import OPEN, OVER, Evaluation, Outputs
from app.language import _
from app.oracles import actions as oracles
from app.policies.models import Policy
from app.projects.models import Pair, Project
from app.rounds import queries as rounds
from app.rounds.events import record
from app.rounds.models import Run
from app.settings import get_settings

WAKE = "activedpo.round"
MOST_PROMPTS = 10_000
_chance = random.SystemRandom()


@dataclass(frozen=True)
class Side:
    """One of a policy of the project, and outputs imported to it."""

    policy: uuid.UUID | None = None
    outputs: uuid.UUID | None = None


@dataclass(frozen=True)
class Asked:
    """What is compared, on which prompts, who answers and when it is enough.

    Attributes:
        prompts: the split: eval, train or all.
        sample: at most so many prompts, drawn at random.
        overlap: answers a pair.
        answered_by: people, oracle or anybody.
        alpha: how often two equal sides may be told apart by chance.
        stop_early: as soon as the evidence is enough; else when everything is answered.
        generation: of the project's sampling settings, what is different here.
    """

    a: Side
    b: Side
    prompts: str = "eval"
    sample: int | None = None
    overlap: int = 1
    answered_by: str = "people"
    alpha: float = 0.05
    stop_early: bool = True
    generation: dict[str, Any] = field(default_factory=dict)


def create(session: Session, project: Project, asked: Asked, by: uuid.UUID | None) -> Evaluation:
    """Open a blind evaluation: workers write the completions, then people are asked.

    Raises:
        Invalid: a side or the prompts cannot be taken, naming the field.
        Conflict: the project is archived.
    """
    project = rounds.lock_project(session, project.id)
    if project.archived:
        raise Conflict(_("The project is archived: take it out of the archive first."))
    for name, side in (("a", asked.a), ("b", asked.b)):
        _check_side(session, project, name, side)
    if asked.a == asked.b:
        raise Invalid(_("b: is the same as a; compare two different sides."), field="b")
    number = queries.last_number(session, project.id) + 1
    evaluation = Evaluation(
        project_id=project.id,
        number=number,
        policy_a_id=asked.a.policy,
        outputs_a_id=asked.a.outputs,
        policy_b_id=asked.b.policy,
        outputs_b_id=asked.b.outputs,
        prompts=asked.prompts,
        sample=asked.sample,
        overlap=asked.overlap,
        answered_by=asked.answered_by,
        alpha=asked.alpha,
        stop_early=asked.stop_early,
        generation={**project.generation, **asked.generation},
        seed=project.seed * 1_000_003 + number,
        created_by=by,
    )
    session.add(evaluation)
    project.has_evaluation = True
    session.flush()
    _tell(session, evaluation, "created", by, prompts=asked.prompts)
    _plan(session, evaluation)
    return evaluation


def _check_side(session: Session, project: Project, name: str, side: Side) -> None:
    if (side.policy is None) == (side.outputs is None):
        raise Invalid(_("%(side)s: name a policy or outputs, one of them.", side=name), field=name)
    if side.policy is not None:
        policy = session.get(Policy, side.policy)
        if policy is None or policy.project_id != project.id:
            raise Invalid(
                _("%(side)s: the project has no such policy.", side=name), field=f"{name}.policy"
            )
        if policy.removed_at is not None:
            raise Invalid(
                _(
                    "%(side)s: the files of policy %(number)s were removed by the rule of "
                    "retention.",
                    side=name,
                    number=policy.number,
                ),
                field=f"{name}.policy",
            )
        return
    outputs = session.get(Outputs, side.outputs)
    if outputs is None or outputs.project_id != project.id:
        raise Invalid(
            _("%(side)s: the project has no such outputs.", side=name), field=f"{name}.outputs"
        )


def _plan(session: Session, evaluation: Evaluation) -> None:
    """Shards of prompts for the workers; where both sides were imported there is nothing to do."""
    imported = [id for id in (evaluation.outputs_a_id, evaluation.outputs_b_id) if id]
    most = min(MOST_PROMPTS, evaluation.sample or MOST_PROMPTS)
    prompts = queries.draw_prompts(session, evaluation, imported, most)
    if not prompts:
        none = _("prompts: the project has none of these.")
        unanswered = _("prompts: the project has none of these that the outputs answer.")
        raise Invalid(unanswered if imported else none, field="prompts")
    evaluation.pairs = len(prompts)
    if len(imported) == 2:
        add_pairs(session, evaluation, prompts, 0, {}, {})
        _open(session, evaluation)
        return
    step = get_settings().shard_prompts
    sides = 2 - len(imported)
    for shard, start in enumerate(range(0, len(prompts), step)):
        part = prompts[start : start + step]
        session.add(
            Run(
                project_id=evaluation.project_id,
                evaluation_id=evaluation.id,
                kind="compare",
                shard=shard,
                input={"prompts": [str(id) for id in part], "first": start},
                total=sides * len(part),
            )
        )
    evaluation.progress_total = sides * len(prompts)
    session.flush()
    jobs.ring(session, WAKE, evaluation.id, queue=jobs.queue_of("compare"))


def add_pairs(
    session: Session,
    evaluation: Evaluation,
    prompts: Sequence[uuid.UUID],
    first: int,
    by_a: dict[uuid.UUID, str],
    by_b: dict[uuid.UUID, str],
) -> int:
    """Store the pairs of some prompts, once; how many had both completions.

    Which side is completion a is drawn for each pair, so that no answer over the API tells it.

    Args:
        first: the place of the first prompt in the order in which pairs are asked about.
        by_a, by_b: what the policies wrote; of a side that was imported nothing.
    """
    if evaluation.outputs_a_id is not None:
        by_a = queries.completions(session, evaluation.outputs_a_id, prompts)
    if evaluation.outputs_b_id is not None:
        by_b = queries.completions(session, evaluation.outputs_b_id, prompts)
    rows = []
    for rank, prompt in enumerate(prompts, first):
        if prompt not in by_a or prompt not in by_b:
            continue
        swapped = _chance.random() < 0.5
        a, b = (by_b, by_a) if swapped else (by_a, by_b)
        rows.append(
            {
                "project_id": evaluation.project_id,
                "evaluation_id": evaluation.id,
                "prompt_id": prompt,
                "completion_a": a[prompt],
                "completion_b": b[prompt],
                "swapped": swapped,
                "slots": 0 if a[prompt] == b[prompt] else evaluation.overlap,
                "rank": rank,
            }
        )
    queries.add_pairs(session, rows)
    return len(rows)


def generated(session: Session, run: Run, left_out: int) -> None:
    """A shard's pairs are stored; the last shard opens the evaluation.

    The caller holds the run under its fencing number, and so the evaluation's lock.
    """
    run.state, run.error, run.finished_at = "done", None, func.now()
    session.flush()
    evaluation = queries.lock(session, run.evaluation_id)
    if evaluation is None or evaluation.state != "generating":
        return
    evaluation.left_out += left_out
    if queries.unfinished_shards(session, evaluation.id):
        return
    evaluation.pairs = queries.pairs_of(session, evaluation.id)
    _open(session, evaluation)


def _open(session: Session, evaluation: Evaluation) -> None:
    evaluation.state, evaluation.opened_at = OPEN, func.now()
    evaluation.progress_done = evaluation.progress_total
    session.flush()
    _tell(session, evaluation, "opened", None, pairs=evaluation.pairs)
    oracles.wake_in(session, evaluation.project_id)
    _end_if_enough(session, evaluation)  # where both sides wrote the same everywhere


def failed(session: Session, evaluation_id: uuid.UUID, message: str) -> None:
    """Its completions cannot be written, and it says why."""
    evaluation = queries.lock(session, evaluation_id)
    if evaluation is None or evaluation.state != "generating":
        return
    evaluation.state, evaluation.error = "failed", message
    session.flush()
    _tell(session, evaluation, "failed", None)


def retry(session: Session, evaluation: Evaluation, by: uuid.UUID | None) -> Evaluation:
    """Let the workers try again.

    Raises:
        Conflict: it has not failed.
    """
    evaluation = _locked(session, evaluation)
    if evaluation.state != "failed":
        raise Conflict(_("Only a failed evaluation is retried."), state=evaluation.state)
    session.execute(
        update(Run)
        .where(Run.evaluation_id == evaluation.id, Run.state == "failed")
        .values(state="queued", stuck=0, error=None, lease_owner=None, lease_expires_at=None)
    )
    evaluation.state, evaluation.error = "generating", None
    session.flush()
    _tell(session, evaluation, "retried", by)
    jobs.ring(session, WAKE, evaluation.id, queue=jobs.queue_of("compare"))
    return evaluation


def answered(session: Session, evaluation: Evaluation, pair: Pair, *, skipped: bool) -> None:
    """An answer was stored, or a pair passed on: see whether that is enough.

    The caller holds the locks of the evaluation and of the pair.
    """
    if evaluation.state != OPEN:
        return
    if skipped:
        gave = queries.had(session, pair.id, "answered")
        others = queries.eligible(session, evaluation)
        if others - gave - queries.had(session, pair.id, "skipped"):
            return
        pair.slots = len(gave)  # nobody else will fill the others: what was said has to do
        session.flush()
    _end_if_enough(session, evaluation)


def asked_again(evaluation: Evaluation, pair: Pair) -> None:
    """An answer is taken back: its slot, and those that nobody wanted, are open again."""
    if evaluation.state == OPEN:
        pair.slots = evaluation.overlap


def _end_if_enough(session: Session, evaluation: Evaluation) -> None:
    session.flush()
    tally = queries.tally(session, evaluation.id)
    enough = refuted(tally.scores, evaluation.alpha)
    if enough and (evaluation.stop_early or not tally.waiting):
        _end(session, evaluation, _better(tally), None)
    elif not tally.waiting:
        _end(session, evaluation, None, None)


def _better(tally: queries.Tally) -> str:
    won = sum((score - 0.5) * count for score, count in tally.scores.items())
    return "a" if won > 0 else "b"


def _end(
    session: Session, evaluation: Evaluation, better: str | None, by: uuid.UUID | None
) -> None:
    evaluation.state, evaluation.better = ("decided", better) if better else ("closed", None)
    evaluation.finished_at = func.now()
    session.flush()
    queries.release_claims(session, evaluation.id)
    told = {"better": better} if better else {}
    _tell(session, evaluation, evaluation.state, by, **told)


def close(session: Session, evaluation: Evaluation, by: uuid.UUID | None) -> Evaluation:
    """End it with the answers there are; decided, if these are enough.

    Raises:
        Conflict: it takes no answers now.
    """
    evaluation = _locked(session, evaluation)
    if evaluation.state != OPEN:
        raise Conflict(_("Only an open evaluation is closed."), state=evaluation.state)
    tally = queries.tally(session, evaluation.id)
    enough = refuted(tally.scores, evaluation.alpha)
    _end(session, evaluation, _better(tally) if enough else None, by)
    return evaluation


def cancel(session: Session, evaluation: Evaluation, by: uuid.UUID | None) -> Evaluation:
    """Stop it for good; what was answered is kept.

    Raises:
        Conflict: it is over already.
    """
    evaluation = _locked(session, evaluation)
    if evaluation.state in OVER:
        raise Conflict(_("This evaluation is over: nothing is left to cancel."))
    session.execute(
        update(Run)
        .where(Run.evaluation_id == evaluation.id, Run.state.in_(("queued", "running", "failed")))
        .values(state="cancelled", cancel_requested=True)
    )
    evaluation.state, evaluation.finished_at = "cancelled", func.now()
    session.flush()
    queries.release_claims(session, evaluation.id)
    _tell(session, evaluation, "cancelled", by)
    return evaluation


def _locked(session: Session, evaluation: Evaluation) -> Evaluation:
    locked = queries.lock(session, evaluation.id)
    assert locked is not None, "an evaluation is never deleted while somebody looks at it"
    return locked


def _tell(
    session: Session, evaluation: Evaluation, what: str, by: uuid.UUID | None, **data: Any
) -> None:
    record(
        session,
        f"evaluation.{what}",
        project_id=evaluation.project_id,
        person_id=by,
        evaluation=str(evaluation.id),
        number=evaluation.number,
        **data,
    )
