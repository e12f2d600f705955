"""Many answers in one call: each on its own, none spoils the others."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from app.database import new_id
from app.errors import Conflict, NotFound, Problem
from app.labelling import actions, batch_queries, withheld
from app.labelling.actions import Answer
from app.labelling.models import Preference
from app.language import _
from app.projects.models import Project
from app.rounds import actions as rounds
from app.rounds import queries as round_queries
from app.rounds.models import Round

log = structlog.get_logger()
Place = tuple[uuid.UUID, uuid.UUID | None, uuid.UUID]
"""Project, round (or evaluation) and pair of a claim."""

DEADLOCK = "40P01"
TRIES = 3


@dataclass(frozen=True)
class Outcome:
    """What became of one answer: a preference (``new`` or said before), or a problem."""

    preference: Preference | None = None
    new: bool = False
    problem: Problem | None = None


def prefer_many(
    session: Session,
    answers: Sequence[tuple[uuid.UUID, Answer]],
    person_id: uuid.UUID,
    allowed: Callable[[uuid.UUID], None],
) -> list[Outcome]:
    """Store many answers, each in a savepoint of its own; outcomes in the order of ``answers``.

    Args:
        answers: (claim, answer); the same claim twice is answered twice, in this order.
        allowed: raises a problem where the person may not label in a project.
    """
    for tries in range(TRIES):
        try:
            return prefer_all(session, answers, person_id, allowed)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != DEADLOCK or tries == TRIES - 1:
                raise
            log.info("batch_deadlocked", size=len(answers))
            session.rollback()  # of nothing but these answers, which are given anew
    raise AssertionError("unreachable")


def place_of(session: Session, claim_id: uuid.UUID, person_id: uuid.UUID) -> Place | None:
    """Where a claim of this person's is; None where they have no such claim."""
    return batch_queries.places(session, [claim_id], person_id).get(claim_id)


def prefer_one(
    session: Session,
    claim_id: uuid.UUID,
    person_id: uuid.UUID,
    answer: Answer,
    place: Place | None,
) -> tuple[Preference, bool]:
    """The same as :func:`app.labelling.actions.prefer`, with fewer statements where nothing about
    the answer is out of the ordinary. Nothing else may have been written in this transaction.

    Args:
        place: what :func:`place_of` says.

    Raises:
        NotFound, Conflict, Gone: as there.
    """
    if place is not None and place[1] is not None and _is_plain(answer):
        try:
            stored = _together(session, place[1], {claim_id: answer}, person_id)
        except IntegrityError as error:
            log.info("answer_collided", claim=str(claim_id), constraint=_constraint(error))
            session.rollback()
        else:
            if stored:
                return stored[0], True
    return actions.prefer(session, claim_id, person_id, answer)


def prefer_all(
    session: Session,
    answers: Sequence[tuple[uuid.UUID, Answer]],
    person_id: uuid.UUID,
    allowed: Callable[[uuid.UUID], None],
) -> list[Outcome]:
    """The same for a caller that has locks of its own, and begins anew after a deadlock itself."""
    places = batch_queries.places(session, [claim for claim, _ in answers], person_id)
    forbidden = {
        project: _refusal(allowed, project) for project in {p for p, *_ in places.values()}
    }
    outcomes = _plain_ones(session, answers, places, forbidden, person_id)
    # Locks in one order for everybody: rounds by id, in them pairs by id, pairs of no round last
    for i in sorted(range(len(answers)), key=lambda i: _order(places.get(answers[i][0]))):
        claim, answer = answers[i]
        if i in outcomes:
            continue
        if claim not in places:
            outcomes[i] = Outcome(problem=NotFound(_("There is no such claim of yours.")))
        elif (problem := forbidden[places[claim][0]]) is not None:
            outcomes[i] = Outcome(problem=problem)
        else:
            outcomes[i] = _one(session, claim, person_id, answer)
    return [outcomes[i] for i in range(len(answers))]


def _plain_ones(
    session: Session,
    answers: Sequence[tuple[uuid.UUID, Answer]],
    places: dict[uuid.UUID, Place],
    forbidden: dict[uuid.UUID, Problem | None],
    person_id: uuid.UUID,
) -> dict[int, Outcome]:
    """What may be stored set by set, with the outcome that one by one would have, much faster.

    That is a side or tie for a claim that is held, on a pair of one slot, in an open batch; all
    else is left to :func:`app.labelling.actions.prefer`.
    """
    often = Counter(claim for claim, _ in answers)
    by_round: dict[uuid.UUID, dict[uuid.UUID, int]] = {}
    for i, (claim, answer) in enumerate(answers):
        place = places.get(claim)
        if place is None or often[claim] > 1 or not _is_plain(answer):
            continue
        if forbidden[place[0]] is None and place[1] is not None:
            by_round.setdefault(place[1], {})[claim] = i
    outcomes: dict[int, Outcome] = {}
    for round_id in sorted(by_round, key=str):
        wanted = by_round[round_id]
        given = {claim: answers[i][1] for claim, i in wanted.items()}
        try:
            with session.begin_nested():
                stored = _together(session, round_id, given, person_id)
        except IntegrityError as error:
            log.info("answers_collided", constraint=_constraint(error))
            continue
        outcomes |= {wanted[p.claim_id]: Outcome(p, True) for p in stored if p.claim_id}
    return outcomes


def _is_plain(answer: Answer) -> bool:
    return answer.choice != "skip" and withheld.PERSONAL not in (answer.flags or ())


def _together(
    session: Session,
    round_id: uuid.UUID,
    given: dict[uuid.UUID, Answer],
    person_id: uuid.UUID,
) -> list[Preference]:
    round = round_queries.lock_round(session, round_id)
    if round is None or round.state != "labelling":
        return []
    project = session.get_one(Project, round.project_id)
    if project.adjudicate:
        return []
    held = batch_queries.plain_claims(
        session, round, list(given), person_id, round.needed - round.answered
    )
    if not held:
        return []
    stored = [_preference(claim, round, person_id, given[claim.id], held[0].now) for claim in held]
    batch_queries.store(session, round, stored)
    round.answered += len(stored) - 1
    rounds.count_answered(session, round, project)
    return stored


def _preference(
    claim: batch_queries.Held,
    round: Round,
    person_id: uuid.UUID,
    answer: Answer,
    now: dt.datetime,
) -> Preference:
    preference = Preference(
        id=new_id(),
        project_id=round.project_id,
        round_id=round.id,
        pair_id=claim.pair_id,
        claim_id=claim.id,
        person_id=person_id,
        left_is=claim.left_is,
        version=1,
        late=False,
        review=False,
    )
    actions.say(preference, answer, claim.created_at, now)
    return preference


def _order(place: Place | None) -> tuple[bool, str, str]:
    if place is None:
        return True, "", ""
    _, round, pair = place
    return round is None, str(round), str(pair)


def _refusal(allowed: Callable[[uuid.UUID], None], project_id: uuid.UUID) -> Problem | None:
    try:
        allowed(project_id)
    except Problem as problem:
        return problem
    return None


def _one(session: Session, claim: uuid.UUID, person_id: uuid.UUID, answer: Answer) -> Outcome:
    try:
        with session.begin_nested():
            preference, new = actions.prefer(session, claim, person_id, answer)
    except Problem as problem:
        return Outcome(problem=problem)
    except IntegrityError as error:
        log.info("answer_collided", claim=str(claim), constraint=_constraint(error))
        detail = "Another answer for this pair was being stored: send this one again."
        return Outcome(problem=Conflict(detail))
    return Outcome(preference, new)


def _constraint(error: IntegrityError) -> str | None:
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None)
