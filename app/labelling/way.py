"""A pair's whole way: from the pool, why it was chosen, who had it and said what, to the policies
that were trained on it. All of its SQL."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labelling.models import OWN_SLOT, Claim, Preference, PreferenceVersion
from app.language import _
from app.oracles.queries import by_oracle
from app.people.models import Person
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.quality.models import is_set_aside
from app.rounds.models import Round, TrainingLabel


@dataclass(frozen=True)
class Held:
    """A claim on the pair."""

    who: str
    slot: str
    state: str
    left_is: str
    at: dt.datetime


@dataclass(frozen=True)
class Said:
    """One value that an answer had; ``choice`` None: taken back."""

    version: int
    at: dt.datetime
    choice: str | None
    chosen: str | None
    strength: int | None
    rationale: str | None
    flags: list[str] | None
    reason: str | None
    answers: dict[str, Any] | None


@dataclass(frozen=True)
class Answered:
    """What somebody said of the pair, with all that they said before."""

    id: uuid.UUID
    who: str
    oracle: bool
    left_is: str
    seconds: float | None
    version: int
    deleted: bool
    review: bool
    late: bool
    recorded: bool
    gold: bool
    set_aside: bool
    history: Sequence[Said]


@dataclass(frozen=True)
class Used:
    """A training that an answer was fixed for, in the version that it had; ``policy``: its number.

    ``ended``: the round's state where it made no policy of it.
    """

    preference: uuid.UUID
    who: str
    version: int
    round_id: uuid.UUID
    round: int
    policy_id: uuid.UUID | None
    policy: int | None
    state: str


@dataclass(frozen=True)
class Way:
    """All that happened to a pair."""

    pair: Pair
    prompt: Prompt
    round: Round | None
    written_by: Policy | None
    scored_by: Policy | None
    why: str
    claims: Sequence[Held] = field(default_factory=list)
    answers: Sequence[Answered] = field(default_factory=list)
    used: Sequence[Used] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        """As JSON."""
        pair = self.pair
        numbers = ("logp_a", "logp_b", "ref_logp_a", "ref_logp_b", "margin", "entropy")
        return {
            "id": pair.id,
            "external_id": pair.external_id,
            "prompt": self.prompt.content,
            "completion_a": pair.completion_a,
            "completion_b": pair.completion_b,
            "state": pair.state,
            "created_at": pair.created_at,
            "policy": pair.policy_id,
            "round": pair.round_id,
            "scored_by": pair.scored_by,
            "scored_at": pair.scored_at,
            **{name: getattr(pair, name) for name in (*numbers, "perplexity", "rank")},
            "audit": pair.audit,
            "why": self.why,
            "claims": [asdict(one) for one in self.claims],
            "answers": [asdict(one) for one in self.answers],
            "trained": [asdict(one) for one in self.used],
        }


def way_of(session: Session, project: Project, pair_id: uuid.UUID) -> Way:
    """The way of one of the project's pairs.

    Raises:
        NotFound: the project has no such pair.
    """
    pair = session.get(Pair, pair_id)
    if pair is None or pair.project_id != project.id:
        raise NotFound(_("There is no such pair in this project."))
    round = session.get(Round, pair.round_id) if pair.round_id else None
    answers = _answers(session, pair_id)
    return Way(
        pair,
        session.get_one(Prompt, pair.prompt_id),
        round,
        session.get(Policy, pair.policy_id) if pair.policy_id else None,
        session.get(Policy, pair.scored_by) if pair.scored_by else None,
        _why(pair, round),
        _claims(session, pair_id),
        answers,
        _used(session, pair_id),
    )


def _why(pair: Pair, round: Round | None) -> str:
    """Why it was chosen, or not, in a sentence."""
    if pair.state == "gold":
        return _("Its answer is known: it is mixed in as gold, and never trained on.")
    if round is None:
        return _("No round has taken it yet.")
    if pair.audit:
        return _("Drawn at random from the pool of round %(n)s, as an audit.", n=round.number)
    if pair.rank is None:
        return _("In the pool of round %(n)s, without a rank.", n=round.number)
    told = {
        "rank": pair.rank + 1,
        "pool": round.metrics.get("pool") or 0,
        "strategy": str(round.metrics.get("acquisition") or "?").replace("_", " "),
        "n": round.number,
    }
    if not told["pool"]:
        return _("Rank %(rank)s by %(strategy)s among all open pairs in round %(n)s.", **told)
    if pair.state in ("open", "answered", "dropped") or pair.rank < round.needed:
        return _("Rank %(rank)s of %(pool)s by %(strategy)s in round %(n)s: chosen.", **told)
    return _("Rank %(rank)s of %(pool)s by %(strategy)s in round %(n)s: not chosen.", **told)


def _claims(session: Session, pair_id: uuid.UUID) -> list[Held]:
    rows = session.execute(
        select(Claim, Person.name, Person.email)
        .join(Person, Person.id == Claim.person_id)
        .where(Claim.pair_id == pair_id)
        .order_by(Claim.created_at, Claim.id)
    )
    return [
        Held(name or email, _slot(claim.slot), claim.state, claim.left_is, claim.created_at)
        for claim, name, email in rows
    ]


def _slot(slot: int) -> str:
    if slot == OWN_SLOT:
        return "beside"
    return "gold" if slot > OWN_SLOT else str(slot + 1)


def _answers(session: Session, pair_id: uuid.UUID) -> list[Answered]:
    rows = session.execute(
        select(
            Preference,
            Person.name,
            Person.email,
            by_oracle(Preference).label("oracle"),
            is_set_aside().label("aside"),
        )
        .join(Person, Person.id == Preference.person_id)
        .where(Preference.pair_id == pair_id)
        .order_by(Preference.id)
    ).all()
    history = _history(session, [row[0].id for row in rows])
    return [
        Answered(
            one.id,
            name or email,
            oracle,
            one.left_is,
            one.seconds,
            one.version,
            one.deleted_at is not None,
            one.review,
            one.late,
            one.recorded,
            one.gold,
            aside,
            history[one.id] or [_now(one)],
        )
        for one, name, email, oracle, aside in rows
    ]


def _history(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Said]]:
    found: dict[uuid.UUID, list[Said]] = defaultdict(list)
    versions = (
        select(PreferenceVersion)
        .where(PreferenceVersion.preference_id.in_(ids))
        .order_by(PreferenceVersion.preference_id, PreferenceVersion.version)
    )
    for one in session.scalars(versions):
        found[one.preference_id].append(_said(one, one.created_at))
    return found


def _said(one: Preference | PreferenceVersion, at: dt.datetime) -> Said:
    return Said(
        one.version,
        at,
        one.choice,
        one.chosen,
        one.strength,
        one.rationale,
        one.flags,
        one.reason,
        one.answers,
    )


def _now(one: Preference) -> Said:
    """The value that stands, of an answer that has no history: it came with an import."""
    return _said(one, one.created_at)


def _used(session: Session, pair_id: uuid.UUID) -> list[Used]:
    rows = session.execute(
        select(
            Preference.id,
            Person.name,
            Person.email,
            TrainingLabel.version,
            Round.id,
            Round.number,
            Round.state,
            Policy.id,
            Policy.number,
        )
        .join(TrainingLabel, TrainingLabel.preference_id == Preference.id)
        .join(Round, Round.id == TrainingLabel.round_id)
        .join(Person, Person.id == Preference.person_id)
        .outerjoin(Policy, Policy.round_id == Round.id)
        .where(Preference.pair_id == pair_id)
        .order_by(Round.number, Preference.id)
    )
    return [
        Used(id, name or email, version, round_id, number, policy_id, policy, state)
        for id, name, email, version, round_id, number, state, policy_id, policy in rows
    ]
