"""Claiming pairs and answering them, one function a verb; slots are :mod:`app.labelling.slots`.

Order of locks, everywhere: round or evaluation, pair, claims. Callers commit.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app import news
from app.errors import Conflict, NotFound
from app.evaluations import queries as evaluations
from app.evaluations.models import OPEN
from app.labelling import gold, queries, slots, withheld
from app.labelling.models import Claim, Preference, PreferenceVersion
from app.language import _
from app.oracles import queries as oracle_queries
from app.projects.models import Project
from app.rounds import queries as round_queries
from app.rounds.models import Round

TRIES = 20


@dataclass(frozen=True)
class Answer:
    """What an annotator or oracle says of a pair, by sides."""

    choice: str
    strength: int | None = None
    rationale: str | None = None
    p_left: float | None = None
    judge: dict[str, Any] | None = None
    seconds: float | None = None
    flags: list[str] | None = None
    reason: str | None = None
    answers: dict[str, Any] | None = None


@dataclass(frozen=True)
class ClaimedPair:
    """A claim with its texts on the sides that this annotator sees."""

    claim: Claim
    prompt: Any
    left: str
    right: str


def claim_pairs(
    session: Session, project: Project, person_id: uuid.UUID, count: int
) -> list[ClaimedPair]:
    """Hand out up to ``count`` further pairs: of evaluations first, which are few and asked for,
    then of the batch that takes labels now.

    Returns:
        The claims, most wanted first; none where nothing is left for this person.
    """
    if project.archived or project.paused:
        return []
    ids = _of_evaluations(session, project, person_id, count) if project.has_evaluation else []
    round = round_queries.labelling_round(session, project.id) if len(ids) < count else None
    if round is not None:
        ids += _of_batch(session, project, round, person_id, count - len(ids))
    return _with_texts(session, ids)


def _of_evaluations(
    session: Session, project: Project, person_id: uuid.UUID, count: int
) -> list[uuid.UUID]:
    evaluations.expire_claims(session, project.id)
    seconds = slots.claim_seconds(project)
    return _taken(
        count, lambda n: evaluations.take_claims(session, project.id, person_id, n, seconds)
    )


def _taken(count: int, take: Callable[[int], queries.Taken]) -> list[uuid.UUID]:
    """Claims on as many slots, asked for again where another claimer was a moment faster: a batch
    is empty only where nothing was seen to be free."""
    ids: list[uuid.UUID] = []
    for _try in range(TRIES if count else 0):
        taken = take(count - len(ids))
        ids += taken.ids
        if len(ids) == count or taken.seen == len(taken.ids):
            break
    return ids


def _of_batch(
    session: Session, project: Project, round: Round, person_id: uuid.UUID, count: int
) -> list[uuid.UUID]:
    queries.expire_claims(session, round.id)
    count = min(count, may_take(session, project, round, person_id, count))
    seconds = slots.claim_seconds(project)
    how = _way_in(session, project, person_id)
    ids = _taken(count, lambda n: queries.take_claims(session, round, person_id, n, seconds, **how))
    if project.gold_share and ids and not _is_oracle(session, project, person_id):
        ids = gold.mix(session, project, round, person_id, ids, seconds)
    if ids:  # no lock was taken, which would tell of it
        news.note(session, round.id)
    return ids


def may_take(
    session: Session, project: Project, round: Round, person_id: uuid.UUID, wanted: int
) -> int:
    """How many of ``wanted`` further pairs the quotas leave a person; oracles have none."""
    if project.quota is None and project.quota_per_round is None:
        return wanted
    if _is_oracle(session, project, person_id):
        return wanted
    return queries.quota_left(session, project, round.id, person_id)


def _is_oracle(session: Session, project: Project, person_id: uuid.UUID) -> bool:
    oracle = oracle_queries.attached(session, project.id)
    return oracle is not None and oracle.person_id == person_id


def _way_in(session: Session, project: Project, person_id: uuid.UUID) -> dict[str, Any]:
    """Which pairs of the batch are for this person: people and oracles share it by the mode."""
    oracle = oracle_queries.attached(session, project.id)
    mine = oracle is not None and oracle.person_id == person_id
    first = oracle is not None and oracle.mode == "first" and oracle.state == "active"
    return {
        "reviewer": _reviews(session, project, person_id),
        "behind": oracle.person_id if oracle is not None and first and not mine else None,
        "beside": oracle is not None and mine and oracle.mode == "with_people",
    }


def waiting_for_others(session: Session, project: Project, person_id: uuid.UUID) -> int:
    """Open pairs that others hold: a queue that only looks empty."""
    if project.paused:
        return 0
    held = evaluations.left_for(session, project.id, person_id) if project.has_evaluation else 0
    round = round_queries.labelling_round(session, project.id)
    if round is None:
        return held
    reviewer = _reviews(session, project, person_id)
    return held + queries.held_by_others(session, round.id, person_id, reviewer=reviewer)


def _reviews(session: Session, project: Project, person_id: uuid.UUID) -> bool:
    return project.adjudicate and person_id in queries.reviewers(session, project.id)


def held_claims(session: Session, project: Project, person_id: uuid.UUID) -> list[ClaimedPair]:
    """What a person holds already: a page that is opened again shows these first."""
    return _with_texts(session, queries.live_claims(session, project.id, person_id))


def _with_texts(session: Session, ids: list[uuid.UUID]) -> list[ClaimedPair]:
    return [
        ClaimedPair(
            claim,
            prompt,
            left=a if claim.left_is == "a" else b,
            right=b if claim.left_is == "a" else a,
        )
        for claim, a, b, prompt in gold.shuffled_in(queries.claim_texts(session, ids))
    ]


def prefer(
    session: Session, claim_id: uuid.UUID, person_id: uuid.UUID, answer: Answer
) -> tuple[Preference, bool]:
    """Store a preference; the M-th answered pair completes the batch in this transaction.

    Returns:
        The preference, and whether it is new (False: the same was said before).

    Raises:
        NotFound: no such claim, or somebody else's.
        Conflict: another choice was stored for this claim.
        Gone: the claim ran out or was given back, and someone else has the slot.
    """
    place = slots.lock(session, claim_id, person_id)
    standing = queries.preference_on(session, place.pair.id, person_id)
    if standing is not None:
        return _again(standing, answer), False
    slots.retake(session, place)
    counted_in = place.round.id if place.counts and place.round else None
    preference = Preference(
        project_id=place.claim.project_id,
        round_id=counted_in or place.claim.round_id,
        evaluation_id=place.claim.evaluation_id,
        pair_id=place.pair.id,
        claim_id=place.claim.id,
        person_id=person_id,
        left_is=place.claim.left_is,
        late=place.late,
        gold=place.gold,
    )
    preference.review = place.pair.review and place.claim.slot == place.pair.slots - 1
    _say(session, preference, answer, place)
    session.add(preference)
    session.flush()
    _remember(session, preference)
    flagged = _guard(session, place, preference)
    slots.settle(session, place, answer.choice)
    if flagged:
        slots.settle_siblings(session, place)
    return preference, True


def amend(
    session: Session, preference_id: uuid.UUID, person_id: uuid.UUID, answer: Answer
) -> Preference:
    """Change one's own answer until its batch is complete; the earlier value stays on record.

    Raises:
        NotFound: no such preference of this person.
        Conflict: it is part of a complete batch.
        Gone: it was a skip, and someone else has the pair now.
    """
    preference, place = _lock_preference(session, preference_id, person_id)
    slots.unsettle(session, place, preference)
    place.claim.state = "live" if preference.choice != "skip" else "released"
    session.flush()
    slots.retake(session, place)
    preference.version += 1
    _say(session, preference, answer, place)
    session.flush()
    _remember(session, preference)
    flagged = _guard(session, place, preference)
    slots.settle(session, place, answer.choice)
    if flagged:
        slots.settle_siblings(session, place)
    return preference


def undo(session: Session, preference_id: uuid.UUID, person_id: uuid.UUID) -> ClaimedPair:
    """Take one's own answer back; the same person holds the claim again.

    Raises:
        NotFound, Conflict, Gone: as for :func:`amend`.
    """
    place = withdraw(session, preference_id, person_id)
    withheld.take_back(session, place.pair, person_id)
    slots.retake(session, place)
    return _with_texts(session, [place.claim.id])[0]


def withdraw(session: Session, preference_id: uuid.UUID, person_id: uuid.UUID) -> slots.Place:
    """Take an answer back for good: its slot is anybody's.

    Raises:
        NotFound, Conflict: as for :func:`amend`.
    """
    preference, place = _lock_preference(session, preference_id, person_id)
    slots.unsettle(session, place, preference)
    place.claim.state = "released"
    preference.deleted_at = queries.now(session)
    preference.version += 1
    session.add(PreferenceVersion(preference_id=preference.id, version=preference.version))
    session.flush()
    return place


def release(
    session: Session, claim_id: uuid.UUID, person_id: uuid.UUID, until: dt.datetime | None = None
) -> bool:
    """Give a claim back to the others.

    Args:
        until: give it back only if it ends then still; renewed since, it is in use elsewhere.

    Returns:
        Whether it was given back.

    Raises:
        NotFound: no such claim of this person.
        Conflict: it is answered already.
    """
    claim = slots.lock(session, claim_id, person_id).claim
    if claim.state in ("answered", "skipped"):
        raise Conflict(_("This claim is answered: undo the preference instead."))
    if until is not None and claim.expires_at != until:
        return False
    claim.state = "released"
    return True


def _lock_preference(
    session: Session, preference_id: uuid.UUID, person_id: uuid.UUID
) -> tuple[Preference, slots.Place]:
    preference = queries.preference_of(session, preference_id, person_id)
    if preference is None or preference.claim_id is None:
        raise NotFound(_("There is no such preference of yours."))
    place = slots.lock(session, preference.claim_id, person_id)
    session.refresh(preference)
    if preference.deleted_at is not None:
        raise NotFound(_("There is no such preference of yours."))
    if preference.frozen_in is not None:
        raise Conflict(_("Its batch is complete: this preference can no longer be changed."))
    if place.evaluation is not None and place.evaluation.state != OPEN:
        raise Conflict(_("Its evaluation is over: this preference can no longer be changed."))
    return preference, place


def _guard(session: Session, place: slots.Place, preference: Preference) -> bool:
    """Withhold the text of what was just flagged as personal data, or show it again; whether it
    is withheld now."""
    if place.beside:
        return False  # people's slots are open still, and an oracle's guess closes none of them
    flagged = withheld.PERSONAL in (preference.flags or ())
    if flagged:
        withheld.withhold(session, place.pair, preference.person_id)
    elif preference.version > 1:
        withheld.take_back(session, place.pair, preference.person_id)
    return flagged


def _again(standing: Preference, answer: Answer) -> Preference:
    if standing.choice != answer.choice:
        raise Conflict(
            _(
                "You said %(choice)s for this pair: amend that preference to change it.",
                choice=standing.choice,
            ),
            preference=str(standing.id),
        )
    return standing


def _say(session: Session, preference: Preference, answer: Answer, place: slots.Place) -> None:
    say(preference, answer, place.claim.created_at, queries.now(session))


def say(preference: Preference, answer: Answer, claimed_at: dt.datetime, now: dt.datetime) -> None:
    """Write an answer into a preference: the side becomes a completion."""
    left_is = preference.left_is
    sides = {"left": left_is, "right": "b" if left_is == "a" else "a"}
    preference.choice = answer.choice
    preference.chosen = sides.get(answer.choice)
    preference.strength = answer.strength
    preference.rationale = answer.rationale
    preference.p_left = answer.p_left
    preference.judge = answer.judge
    preference.flags = sorted(set(answer.flags)) if answer.flags else None
    preference.reason = answer.reason
    preference.answers = answer.answers
    preference.updated_at = now
    preference.seconds = (
        answer.seconds if answer.seconds is not None else (now - claimed_at).total_seconds()
    )


def version_of(preference: Preference) -> PreferenceVersion:
    """The preference as it is, for its history."""
    return PreferenceVersion(
        preference_id=preference.id,
        version=preference.version,
        choice=preference.choice,
        chosen=preference.chosen,
        strength=preference.strength,
        rationale=preference.rationale,
        p_left=preference.p_left,
        judge=preference.judge,
        flags=preference.flags,
        reason=preference.reason,
        answers=preference.answers,
    )


def _remember(session: Session, preference: Preference) -> None:
    session.add(version_of(preference))
    session.flush()
