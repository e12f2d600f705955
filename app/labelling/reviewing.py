"""Disagreements that wait for a reviewer, and deciding one of them. Callers commit.

A reviewer reads what was said without names, on sides that are drawn for them and stored as every
annotator's are.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.labelling import actions, queries, withheld
from app.labelling.models import OWN_SLOT, Claim, Preference
from app.language import _
from app.people.access import Actor
from app.projects import questions
from app.projects.models import Pair, Project, Prompt
from app.rounds import queries as rounds
from app.rounds.models import Round
from app.settings import get_settings

TAKEN = _("Another reviewer has this pair in hand: look again when their time is up.")
NOT_WANTED = _("Nobody has to decide this pair: it is decided, or nobody disagrees on it.")
OWN = _("You answered this pair yourself: another reviewer has to decide it.")


@dataclass(frozen=True)
class Opinion:
    """What one of the annotators said, by the sides that the reviewer sees."""

    choice: str
    strength: int | None
    rationale: str | None
    flags: list[str] | None
    answers: dict[str, Any] | None


@dataclass(frozen=True)
class Disagreement:
    """A pair on which annotators disagree, as one reviewer sees it.

    ``why_not``: in words, why this reviewer cannot decide it now; None where they can.
    """

    pair: uuid.UUID
    prompt: Any
    left: str
    right: str
    left_is: str
    said: Sequence[Opinion]
    why_not: str | None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "pair": self.pair,
            "prompt": self.prompt,
            "left": self.left,
            "right": self.right,
            "said": [vars(one) for one in self.said],
            "why_not": self.why_not,
        }


def waiting(session: Session, project: Project, actor: Actor, limit: int) -> list[Disagreement]:
    """The disagreements of the batch that takes labels now, in the order of the batch."""
    round = rounds.labelling_round(session, project.id)
    if round is None or not project.adjudicate:
        return []
    hidden, _ = withheld.hidden_from(session, project.id, actor)
    rows = session.execute(
        select(Pair, Prompt.content)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(Pair.round_id == round.id, Pair.state == "open", Pair.review)
        .order_by(Pair.rank, Pair.id)
        .limit(limit)
    ).all()
    shown = [(pair, prompt) for pair, prompt in rows if pair.id not in hidden]
    ids = [pair.id for pair, _ in shown]
    said, claims = _said(session, ids), _claims(session, ids)
    me, now = actor.person.id, queries.now(session)
    return [_seen(pair, prompt, said[pair.id], me, claims[pair.id], now) for pair, prompt in shown]


def _seen(
    pair: Pair,
    prompt: Any,
    said: Sequence[Preference],
    me: uuid.UUID,
    claims: Sequence[Claim],
    now: dt.datetime,
) -> Disagreement:
    held = next((one for one in claims if one.person_id == me and one.state == "live"), None)
    left_is = held.left_is if held else side_for(pair.id, me)
    a, b = pair.completion_a, pair.completion_b
    return Disagreement(
        pair.id,
        prompt,
        a if left_is == "a" else b,
        b if left_is == "a" else a,
        left_is,
        [_opinion(one, left_is) for one in said],
        _why_not(pair, claims, me, now),
    )


def _opinion(one: Preference, left_is: str) -> Opinion:
    choice = one.choice
    if one.chosen is not None:
        choice = "left" if one.chosen == left_is else "right"
    return Opinion(choice, one.strength, one.rationale, one.flags, one.answers)


def side_for(pair_id: uuid.UUID, person_id: uuid.UUID) -> str:
    """Which completion a reviewer sees on the left: even odds over pairs, and always the same."""
    return "a" if (pair_id.int ^ person_id.int).bit_count() % 2 else "b"


def _said(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Preference]]:
    found: dict[uuid.UUID, list[Preference]] = defaultdict(list)
    answers = (
        select(Preference)
        .join(Claim, Claim.id == Preference.claim_id)
        .where(
            Preference.pair_id.in_(ids),
            Preference.deleted_at.is_(None),
            Preference.choice != "skip",
            Claim.slot < OWN_SLOT,
        )
        .order_by(Preference.pair_id, Preference.id)
    )
    for one in session.scalars(answers):
        found[one.pair_id].append(one)
    return found


def _claims(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Claim]]:
    found: dict[uuid.UUID, list[Claim]] = defaultdict(list)
    held = select(Claim).where(
        Claim.pair_id.in_(ids), Claim.state.in_(("live", "answered", "skipped"))
    )
    for claim in session.scalars(held):
        found[claim.pair_id].append(claim)
    return found


def _why_not(pair: Pair, claims: Sequence[Claim], me: uuid.UUID, now: dt.datetime) -> str | None:
    if any(claim.person_id == me and claim.state != "live" for claim in claims):
        return OWN
    for claim in claims:
        last = claim.slot == pair.slots - 1
        if last and claim.state == "live" and claim.expires_at > now and claim.person_id != me:
            return TAKEN
    return None


def decide(
    session: Session, project: Project, pair_id: uuid.UUID, actor: Actor, answer: actions.Answer
) -> Preference:
    """Answer a disagreement, by the sides of :func:`side_for`; the answer decides.

    Raises:
        NotFound: the project has no such pair.
        Conflict: nobody has to decide it, it is not for this reviewer to read, they answered it
            themselves, or another one has it in hand.
        Invalid: the project wants a rationale, or has questions that this does not answer.
    """
    if project.require_rationale and not (answer.rationale or "").strip():
        raise Invalid(_("rationale: this project wants one with every choice."), field="rationale")
    said = questions.checked(project.questions, answer.answers, complete=True)
    pair = session.get(Pair, pair_id)
    if pair is None or pair.project_id != project.id:
        raise NotFound(_("There is no such pair in this project."))
    if pair_id in withheld.hidden_from(session, project.id, actor)[0]:
        raise Conflict(NOT_WANTED)
    claim = _take(session, project, pair, actor.person.id)
    answer = dataclasses.replace(answer, answers=said)
    return actions.prefer(session, claim.id, actor.person.id, answer)[0]


def _take(session: Session, project: Project, seen: Pair, me: uuid.UUID) -> Claim:
    """The reviewer's slot of the pair, for this reviewer; round and pair are locked."""
    round = rounds.lock_round(session, seen.round_id) if seen.round_id else None
    pair = queries.lock_pair(session, seen.id)
    if not _wanted(project, pair, round) or round is None:
        raise Conflict(NOT_WANTED)
    claims, now = queries.claims_on(session, pair.id), queries.now(session)
    if why_not := _why_not(pair, claims, me, now):
        raise Conflict(why_not)
    for claim in claims:
        if claim.person_id == me:
            return claim
        if claim.state == "live" and claim.expires_at <= now:
            claim.state = "expired"
    session.flush()
    seconds = project.claim_seconds or get_settings().claim_seconds
    claim = Claim(
        project_id=project.id,
        round_id=round.id,
        pair_id=pair.id,
        slot=pair.slots - 1,
        person_id=me,
        left_is=side_for(pair.id, me),
        expires_at=now + dt.timedelta(seconds=seconds),
    )
    session.add(claim)
    session.flush()
    return claim


def _wanted(project: Project, pair: Pair, round: Round | None) -> bool:
    takes = round is not None and round.state == "labelling" and pair.round_id == round.id
    return takes and project.adjudicate and pair.review and pair.state == "open"
