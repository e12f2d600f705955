"""What may happen to a trial: asked, answered by a worker, cancelled, kept as a pair.

Callers commit.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import jobs
from app.errors import Conflict, Invalid, TooMany
from app.language import _
from app.playground import queries
from app.playground.models import Trial
from app.policies.models import Policy
from app.projects import bulk, content
from app.projects.bulk import NewPair
from app.projects.models import Pair, Project, Prompt
from app.rounds.events import record
from app.rounds.models import Run

WAKE = "activedpo.round"
KEPT_SECONDS = 3600
"""How long a trial is kept."""

MOST_AN_HOUR, MOST_WAITING = 60, 3
"""Trials of one person."""


@dataclass(frozen=True)
class Wanted:
    """A prompt, text or chat messages, which two policies are to answer, and how."""

    prompt: Any
    a: uuid.UUID
    b: uuid.UUID
    temperature: float = 0.7
    max_new_tokens: int = 128


def ask(session: Session, project: Project, wanted: Wanted, by: uuid.UUID) -> Trial:
    """Let a worker answer a prompt by two policies, before other work that waits.

    Raises:
        Invalid: the prompt or a policy cannot be taken, naming the field.
        TooMany: this person has asked too much in an hour, or too many at once.
    """
    try:
        prompt = content.prompt(wanted.prompt)
    except ValueError as error:
        raise Invalid(_("prompt: %(problem)s", problem=str(error)), field="prompt") from None
    for field, policy_id in (("a", wanted.a), ("b", wanted.b)):
        _check_policy(session, project, field, policy_id)
    _check_rate(session, by)
    trial = Trial(
        project_id=project.id,
        person_id=by,
        prompt=prompt,
        policy_a_id=wanted.a,
        policy_b_id=wanted.b,
        generation={
            **project.generation,
            "temperature": wanted.temperature,
            "max_new_tokens": wanted.max_new_tokens,
        },
        seed=random.SystemRandom().getrandbits(30),
        expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, KEPT_SECONDS),
    )
    session.add(trial)
    session.flush()
    session.add(Run(project_id=project.id, trial_id=trial.id, kind="try", total=2))
    session.flush()
    session.refresh(trial)
    jobs.ring(session, WAKE, trial.id, queue=jobs.queue_of("try"))
    return trial


def _check_policy(session: Session, project: Project, field: str, policy_id: uuid.UUID) -> None:
    policy = session.get(Policy, policy_id)
    if policy is None or policy.project_id != project.id:
        raise Invalid(_("%(side)s: the project has no such policy.", side=field), field=field)
    if policy.removed_at is not None:
        raise Invalid(
            _(
                "%(side)s: the files of policy %(number)s were removed by the rule of retention.",
                side=field,
                number=policy.number,
            ),
            field=field,
        )


def _check_rate(session: Session, person_id: uuid.UUID) -> None:
    asked, waiting, seconds = queries.counts(session, person_id, 3600)
    if waiting >= MOST_WAITING:
        raise TooMany(
            _("%(most)s of your trials wait already: let one end first.", most=MOST_WAITING),
            retry_after=5,
        )
    if asked >= MOST_AN_HOUR:
        raise TooMany(
            _("You have tried %(most)s prompts in an hour: wait a little.", most=MOST_AN_HOUR),
            retry_after=max(1, int(seconds)),
        )


def answered(session: Session, run: Run, said: dict[str, tuple[str, bool]]) -> None:
    """A worker has both answers. The caller holds the run, and so the trial's lock.

    Args:
        said: (text, whether it ended by itself) by side; without one whose context is too short.
    """
    run.state, run.error, run.finished_at = "done", None, func.now()
    session.flush()
    trial = queries.lock(session, run.trial_id)
    if trial is None or trial.state != "waiting":
        return
    short = [side for side in ("a", "b") if side not in said]
    if short:
        trial.state, trial.error = "failed", "The prompt does not fit the model's context."
    else:
        trial.completion_a, trial.finished_a = said["a"]
        trial.completion_b, trial.finished_b = said["b"]
        trial.state = "done"
    session.flush()


def failed(session: Session, trial_id: uuid.UUID, message: str) -> None:
    """It cannot be answered, and says why."""
    trial = queries.lock(session, trial_id)
    if trial is not None and trial.state == "waiting":
        trial.state, trial.error = "failed", message
        session.flush()


def cancel(session: Session, trial: Trial) -> Trial:
    """Answer it no further.

    Raises:
        Conflict: it is over already.
    """
    locked = queries.lock(session, trial.id)
    if locked is None or locked.state != "waiting":
        raise Conflict(_("This trial is over: nothing is left to cancel."))
    session.execute(
        update(Run)
        .where(Run.trial_id == locked.id, Run.state.in_(("queued", "running")))
        .values(state="cancelled", cancel_requested=True)
    )
    locked.state = "cancelled"
    session.flush()
    return locked


def keep(session: Session, project: Project, trial: Trial, by: uuid.UUID) -> uuid.UUID:
    """Make a pair of it, which the next round asks about before what the acquisition would choose.

    Which answer is completion a is drawn, as nothing may tell the policies. Again: the same pair.

    Raises:
        Conflict: it has no answers, or both are the same, or the project has the pair already.
    """
    locked = queries.lock(session, trial.id)
    if locked is None or locked.completion_a is None or locked.completion_b is None:
        raise Conflict(_("Only a trial that was answered can be kept."))
    if locked.pair_id is not None:
        return locked.pair_id
    if locked.completion_a == locked.completion_b:
        raise Conflict(_("Both answers are the same: there is nothing to compare."))
    answers = [
        (locked.completion_a, bool(locked.finished_a)),
        (locked.completion_b, bool(locked.finished_b)),
    ]
    random.SystemRandom().shuffle(answers)
    (a, finished_a), (b, finished_b) = answers
    new = NewPair(locked.prompt, a, b)
    if not bulk.store_pairs(session, project.id, [new]):
        raise Conflict(_("The project has this pair already."))
    hashed = content.pair_hash(content.prompt_hash(locked.prompt), a, b)
    pair = session.scalars(
        select(Pair).where(Pair.project_id == project.id, Pair.content_hash == hashed)
    ).one()
    pair.wanted, pair.finished_a, pair.finished_b = True, finished_a, finished_b
    locked.pair_id = pair.id
    session.flush()
    record(session, "pair.kept", project_id=project.id, person_id=by, pair=str(pair.id))
    return pair.id


def prompt_of(session: Session, pair_id: uuid.UUID) -> Any:
    """The prompt of a kept pair."""
    query = select(Prompt.content).join(Pair, Pair.prompt_id == Prompt.id)
    return session.scalar(query.where(Pair.id == pair_id))
