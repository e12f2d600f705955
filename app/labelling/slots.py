"""Which slot of a pair an answer fills, and what becomes of the pair: full, sent to a reviewer,
replaced by the next in line, or open again.

Order of locks, everywhere: round or evaluation, pair, claims. Callers commit.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import Conflict, Gone, NotFound
from app.evaluations import actions as evaluations
from app.evaluations import queries as evaluation_queries
from app.evaluations.models import OPEN, Evaluation
from app.labelling import queries, withheld
from app.labelling.models import GOLD, OWN_SLOT, Claim, Preference
from app.language import _
from app.oracles import actions as oracles
from app.oracles import queries as oracle_queries
from app.projects.models import Pair, Project
from app.rounds import actions as rounds
from app.rounds import queries as round_queries
from app.rounds.models import Round
from app.settings import get_settings

TRIES = 4


@dataclass
class Place:
    """A claim under lock, with its pair and the round that the pair is in now; of a gold pair,
    which is in none, the round in which it was handed out. A pair of an evaluation has that."""

    claim: Claim
    pair: Pair
    round: Round | None
    project: Project
    evaluation: Evaluation | None = None

    @property
    def counts(self) -> bool:
        """Whether an answer belongs to a batch that takes labels."""
        return (
            self.round is not None
            and self.round.state == "labelling"
            and (self.pair.state in ("open", "dropped") or self.beside or self.gold)
        )

    @property
    def late(self) -> bool:
        """Whether an answer comes when it is not waited for any more."""
        if self.evaluation is not None:
            return self.evaluation.state != OPEN
        return not self.counts

    @property
    def gold(self) -> bool:
        """Whether its answer is known: what is said of it tells of the annotator alone."""
        return self.pair.state == GOLD

    @property
    def beside(self) -> bool:
        """An oracle's slot of its own: it fills none of the pair's."""
        return self.claim.slot == OWN_SLOT


def claim_seconds(project: Project) -> int:
    """How long a claim of the project is held, in seconds, from when it is made or renewed."""
    return project.claim_seconds or get_settings().claim_seconds


def lock(session: Session, claim_id: uuid.UUID, person_id: uuid.UUID, tries: int = TRIES) -> Place:
    """A person's claim with its pair and round, all of them locked.

    Raises:
        NotFound: no such claim, or somebody else's.
        Conflict: the pair keeps changing its round.
    """
    claim = queries.claim_of(session, claim_id, person_id)
    if claim is None:
        raise NotFound(_("There is no such claim of yours."))
    seen = session.get_one(Pair, claim.pair_id, populate_existing=True)
    # The round first: a batch completes under this lock, and lock order is round, pair, claims.
    in_round = claim.round_id if seen.state == GOLD else seen.round_id
    round = round_queries.lock_round(session, in_round) if in_round else None
    evaluation = evaluation_queries.lock(session, seen.evaluation_id)
    pair = queries.lock_pair(session, claim.pair_id)
    if pair.state != GOLD and pair.round_id != (round.id if round else None):
        if tries == 0:
            raise Conflict(_("The pair keeps changing its round: send the answer again."))
        return lock(session, claim_id, person_id, tries - 1)
    session.refresh(claim, with_for_update=True)
    return Place(claim, pair, round, session.get_one(Project, claim.project_id), evaluation)


def retake(session: Session, place: Place) -> None:
    """Make the claim hold a slot again, its own or another free one of the pair.

    An expired claim counts still, unless every slot it could have went to someone else.
    """
    if place.claim.state == "live":
        return  # even past its time: whoever takes a slot over marks the old claim first
    others = [c for c in queries.claims_on(session, place.pair.id) if c.id != place.claim.id]
    for claim in others:
        if claim.person_id == place.claim.person_id:
            claim.state = "released"  # the same person claimed the pair anew: one hold is enough
    now = queries.now(session)
    for claim in others:
        if claim.state == "live" and claim.expires_at < now:
            claim.state = "expired"
    session.flush()
    taken = {c.slot for c in others if c.state in ("live", "answered")}
    if place.gold:
        free = [max({OWN_SLOT, *taken}) + 1]  # there is one for everybody
    else:
        free = [s for s in range(max(place.pair.slots, place.claim.slot + 1)) if s not in taken]
    if not free:
        raise Gone(_("Your claim ran out and the pair was given to someone else."))
    if place.claim.slot in taken:
        place.claim.slot = free[0]
    place.claim.state = "live"
    seconds = claim_seconds(place.project)
    place.claim.expires_at = max(place.claim.expires_at, now + dt.timedelta(seconds=seconds))
    session.flush()


def _answers(session: Session, pair: Pair) -> int:
    return sum(
        c.state == "answered" and c.slot != OWN_SLOT for c in queries.claims_on(session, pair.id)
    )


def _full(session: Session, place: Place) -> bool:
    """Whether a pair has all answers that there will be: of an oracle that labels alone, and of
    a pair that is shown to nobody else, one."""
    if _answers(session, place.pair) >= place.pair.slots:
        return True
    oracle = oracle_queries.attached(session, place.project.id)
    alone = oracle is not None and oracle.mode == "alone"
    if oracle is not None and alone and oracle.person_id == place.claim.person_id:
        return True
    return withheld.is_withheld(session, place.pair.id)


def settle(session: Session, place: Place, choice: str) -> None:
    """Fill the slot, or pass the pair on, and see whether the batch is complete."""
    place.claim.state = "skipped" if choice == "skip" else "answered"
    session.flush()
    if place.gold:
        return
    if place.evaluation is not None:
        evaluations.answered(session, place.evaluation, place.pair, skipped=choice == "skip")
        return
    if choice == "skip":
        if place.counts and place.round is not None:
            _replace_if_unwanted(session, place, place.round)
        return
    if not place.counts or place.round is None:
        place.pair.state = "answered"
        return
    if place.beside:
        return
    if place.pair.state == "dropped":
        place.pair.state = "open"
    if not _full(session, place):
        return
    if _needs_review(session, place):
        place.pair.review = True
        place.pair.slots += 1
        session.flush()
        return
    place.pair.state = "answered"
    session.flush()
    rounds.count_answered(session, place.round, place.project)


def _needs_review(session: Session, place: Place) -> bool:
    """Whether annotators disagree and a reviewer has not decided yet."""
    return (
        place.project.adjudicate
        and not place.pair.review
        and len(queries.opinions(session, place.pair.id)) > 1
        and not withheld.is_withheld(session, place.pair.id)
    )


def _withdraw_review(session: Session, pair: Pair) -> None:
    """An answer behind the disagreement goes: unless a reviewer has decided, nobody needs to."""
    claims = queries.claims_on(session, pair.id)
    deciding = [c for c in claims if c.slot == pair.slots - 1 and c.state != "skipped"]
    if any(c.state == "answered" for c in deciding):
        return
    for claim in deciding:
        claim.state = "released"
    pair.review = False
    pair.slots -= 1
    session.flush()


def _replace_if_unwanted(session: Session, place: Place, round: Round) -> None:
    """Replace a pair that everyone eligible has skipped, or that is withheld, by the next in line;
    none left: M - 1."""
    pair = place.pair
    if place.beside:
        return
    claims = [c for c in queries.claims_on(session, pair.id) if c.slot != OWN_SLOT]
    skipped = {c.person_id for c in claims if c.state == "skipped"}
    answered = {c.person_id for c in claims if c.state == "answered"}
    if pair.review:
        people = queries.reviewers(session, round.project_id)
    else:
        people = round_queries.eligible_people(session, round.project_id)
    people -= queries.at_quota(session, place.project, round.id)
    people.add(place.claim.person_id)
    if people - skipped - answered and not withheld.is_withheld(session, pair.id):
        return
    if answered:  # nobody else will fill its other slots: what was said has to do
        pair.state = "answered"
        session.flush()
        rounds.count_answered(session, round, place.project)
        return
    pair.state = "dropped"
    session.flush()
    imported = place.project.source == "imported"
    successor = round_queries.next_in_line(session, round, audit=pair.audit, imported=imported)
    if successor is None:
        round.needed -= 1
        round.progress_total = round.needed
        rounds.complete_if_full(session, round, place.project)
        return
    successor.state, successor.round_id = "open", round.id
    successor.slots, successor.audit = pair.slots, pair.audit
    if successor.rank is None:
        successor.rank = pair.rank
    session.flush()
    oracles.wake_in(session, round.project_id)


def settle_siblings(session: Session, place: Place) -> None:
    """Let the batch do without the other pairs of a prompt that has just been withheld: with the
    answers that they have, or with the next in line."""
    for round_id, pair_id in withheld.siblings(session, place.pair):
        round = round_queries.lock_round(session, round_id)
        pair = queries.lock_pair(session, pair_id)
        if round is None or round.state != "labelling" or pair.state != "open":
            continue
        withheld.give_back(session, pair_id)
        session.flush()
        _replace_if_unwanted(session, Place(place.claim, pair, round, place.project), round)


def unsettle(session: Session, place: Place, preference: Preference) -> None:
    """Undo what :func:`settle` did, while the label is not fixed yet."""
    pair, round = place.pair, place.round
    if place.gold:
        return
    if place.evaluation is not None:
        evaluations.asked_again(place.evaluation, pair)
        return
    if pair.review and not preference.review:
        _withdraw_review(session, pair)
    if round is None or round.state != "labelling":
        if pair.state == "answered" and _answers(session, pair) <= 1:
            pair.state = "unused" if round is not None else "pool"
    elif pair.state == "answered":
        pair.state = "open"
        round.answered -= 1
        round.progress_done = round.answered
    elif pair.state == "dropped" and preference.choice == "skip":
        _bring_back(session, pair, round)
    session.flush()


def _bring_back(session: Session, pair: Pair, round: Round) -> None:
    """A dropped pair is open again: its successor goes back, or the shrunken batch grows."""
    pair.state = "open"
    if round.needed < round.metrics.get("selected", round.needed):
        round.needed += 1
        round.progress_total = round.needed
        return
    session.flush()
    successor = queries.untouched_pair(session, round.id, pair)
    if successor is not None:
        successor.state = "pool"
