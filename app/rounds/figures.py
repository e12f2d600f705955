"""What the pages show of a round's pool, its people and the work for it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, union_all
from sqlalchemy.orm import Session

from app.labelling.models import OWN_SLOT, Claim, Preference
from app.people.models import Person
from app.projects.models import Pair, Prompt
from app.rounds.models import Event, Round


@dataclass(frozen=True)
class Said:
    """What somebody said of a pair: ``word`` as in :class:`Chosen`, and all that went with it."""

    name: str
    word: str
    words: str | None
    flags: tuple[str, ...]
    answers: dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """A pair of the batch: why it was chosen, and what was said of it.

    ``answers`` are words: "A", "B", "tie", "both bad", "skip".
    """

    id: uuid.UUID
    prompt: Any
    completion_a: str
    completion_b: str
    entropy: float | None
    margin: float | None
    rank: int | None
    audit: bool
    state: str
    said: tuple[Said, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The words alone."""
        return tuple(one.word for one in self.said)

    def without_text(self, instead: str) -> Chosen:
        """The same with its texts replaced."""
        return replace(self, prompt=instead, completion_a=instead, completion_b=instead)


@dataclass(frozen=True)
class Labeller:
    """Somebody's part in a round."""

    name: str
    answered: int
    held: int


def in_batch(round: Round) -> ColumnElement[bool]:
    """Pairs that were shown to people in the round, also after it is over."""
    shown = or_(Pair.state.in_(("open", "answered", "dropped")), Pair.rank < round.needed)
    return or_(shown, Pair.audit) & (Pair.round_id == round.id)


def batch(session: Session, round: Round, limit: int) -> list[Chosen]:
    """The pairs of the batch in the order of their ranks."""
    rows = session.execute(
        select(Pair, Prompt.content)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(in_batch(round))
        .order_by(Pair.rank.nulls_last(), Pair.id)
        .limit(limit)
    ).all()
    said = _answers(session, [pair.id for pair, _ in rows])
    return [_chosen(pair, content, said[pair.id]) for pair, content in rows]


def _chosen(pair: Pair, content: Any, said: Sequence[Said]) -> Chosen:
    return Chosen(
        pair.id,
        content,
        pair.completion_a,
        pair.completion_b,
        pair.entropy,
        pair.margin,
        pair.rank,
        pair.audit,
        pair.state,
        tuple(said),
    )


def _answers(session: Session, ids: Sequence[uuid.UUID]) -> defaultdict[uuid.UUID, list[Said]]:
    rows = session.execute(
        select(Preference, Person.name, Person.email)
        .join(Person, Person.id == Preference.person_id)
        .where(Preference.pair_id.in_(ids), Preference.deleted_at.is_(None))
        .order_by(Preference.id)
    )
    said = defaultdict[uuid.UUID, list[Said]](list)
    for one, name, email in rows:
        word = one.chosen.upper() if one.chosen else one.choice.replace("_", " ")
        words, flags = one.rationale or one.reason, tuple(one.flags or ())
        said[one.pair_id].append(Said(name or email, word, words, flags, one.answers or {}))
    return said


def pool(
    session: Session, round: Round, limit: int
) -> Sequence[Row[uuid.UUID, float | None, float | None, bool, bool, int | None]]:
    """(id, entropy, margin, in the batch, audit, rank) of scored pairs, the batch first.

    Of each state the first ``limit`` are read, in the index's order: a pool of a million costs what
    a small one does.
    """
    columns = (Pair.id, Pair.entropy, Pair.margin, in_batch(round).label("chosen"))
    parts = [
        select(*columns, Pair.audit, Pair.rank)
        .where(Pair.round_id == round.id, Pair.state == state)
        .order_by(Pair.rank)
        .limit(limit)
        for state in ("answered", "open", "dropped", "unused", "pool")
    ]
    some = union_all(*parts).subquery()
    return session.execute(
        select(some)
        .where(some.c.margin.is_not(None))
        .order_by(some.c.chosen.desc(), some.c.rank)
        .limit(limit)
    ).all()


def labellers(
    session: Session, round_id: uuid.UUID, viewer: uuid.UUID | None = None
) -> list[Labeller]:
    """Everyone who holds or answered pairs of a round, the busiest first.

    Args:
        viewer: from whom gold is hidden, so that what they did to gold pairs counts here.
    """
    counted = Claim.slot <= OWN_SLOT
    if viewer is not None:
        counted |= Claim.person_id == viewer
    answered = func.count().filter(Claim.state == "answered")
    held = func.count().filter(Claim.state == "live", Claim.expires_at > func.now())
    rows = session.execute(
        select(Person.name, Person.email, answered, held)
        .join(Person, Person.id == Claim.person_id)
        .where(Claim.round_id == round_id, counted)
        .group_by(Person.id)
        .order_by(answered.desc(), Person.email)
    )
    return [Labeller(name or email, done, has) for name, email, done, has in rows if done or has]


def round_numbered(session: Session, project_id: uuid.UUID, number: int) -> Round | None:
    """The round of a project with that number."""
    query = select(Round).where(Round.project_id == project_id, Round.number == number)
    return session.scalar(query)


def newest_events(session: Session, round_id: uuid.UUID, limit: int) -> list[Event]:
    """What happened last, the newest first."""
    query = select(Event).where(Event.round_id == round_id)
    return list(session.scalars(query.order_by(Event.id.desc()).limit(limit)))
