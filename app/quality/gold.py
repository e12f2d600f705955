"""Gold pairs as those see them who run a project: made, listed, retired, and what annotators
said of them. How they are mixed in unseen is :mod:`app.labelling.gold`. Callers commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.database import new_id
from app.errors import Conflict, Invalid, NotFound
from app.labelling import withheld
from app.labelling.models import ANSWERS, GOLD, GoldPair, Preference
from app.language import _
from app.people.models import Person
from app.projects import content
from app.projects.bulk import NewPair
from app.projects.models import Pair, Project, Prompt
from app.rounds.events import record
from app.rounds.models import Round

LONGEST_EXPLANATION = 4_000

_said = func.coalesce(Preference.chosen, Preference.choice)
_stands = Preference.deleted_at.is_(None) & (Preference.choice != "skip")


def add(session: Session, project: Project, news: Sequence[NewPair], by: uuid.UUID | None) -> int:
    """Store pairs whose answer is known; how many the project did not have, as gold or not."""
    added = 0
    for new in news:
        prompt_hash = content.prompt_hash(new.prompt)
        values = {
            "id": new_id(),
            "project_id": project.id,
            "prompt_id": _prompt(session, project, new.prompt, prompt_hash),
            "external_id": new.external_id,
            "content_hash": content.pair_hash(prompt_hash, new.completion_a, new.completion_b),
            "completion_a": new.completion_a,
            "completion_b": new.completion_b,
            "state": GOLD,
        }
        stored = insert(Pair).values(values).on_conflict_do_nothing().returning(Pair.id)
        pair_id = session.scalar(stored)
        if pair_id is not None:
            assert new.gold is not None, "only rows with an answer come here"
            _make(session, project, pair_id, new.gold, new.explanation, by)
            added += 1
    if added:
        record(session, "gold.added", project_id=project.id, person_id=by, pairs=added)
    session.flush()
    return added


def _prompt(session: Session, project: Project, given: content.Content, hash: str) -> uuid.UUID:
    """The prompt's id; one that is new is for gold alone, and listed as one that was used."""
    values = {
        "id": new_id(),
        "project_id": project.id,
        "content": given,
        "content_hash": hash,
        "gold": True,
        "times_used": int(project.source == "generated"),
    }
    session.execute(insert(Prompt).values(values).on_conflict_do_nothing())
    query = select(Prompt.id).where(Prompt.project_id == project.id, Prompt.content_hash == hash)
    return session.scalars(query).one()


def _make(
    session: Session,
    project: Project,
    pair_id: uuid.UUID,
    answer: str,
    explanation: str | None,
    by: uuid.UUID | None,
    source: uuid.UUID | None = None,
) -> GoldPair:
    gold = GoldPair(
        pair_id=pair_id,
        project_id=project.id,
        source_pair_id=source,
        answer=answer,
        explanation=explanation or None,
        created_by=by,
    )
    session.add(gold)
    project.has_gold = True
    return gold


def mark(
    session: Session,
    project: Project,
    pair_id: uuid.UUID,
    answer: str | None,
    explanation: str | None,
    by: uuid.UUID | None,
) -> GoldPair:
    """Make gold of a pair that has its labels; they stay labels, and a copy of it is shown.

    Args:
        answer: a, b, tie or both_bad; None: what its labels say, if they say one thing.

    Raises:
        NotFound: no such pair in the project.
        Conflict: it waits for labels still, is withheld, or is gold already.
        Invalid: no such answer, or none given and its labels do not agree.
    """
    query = select(Pair).where(Pair.id == pair_id, Pair.project_id == project.id)
    pair = session.scalar(query.with_for_update())
    if pair is None:
        raise NotFound(_("There is no such pair in this project."))
    if pair.state != "answered":
        raise Conflict(_("Only a pair that has its labels becomes gold."))
    if withheld.is_withheld(session, pair.id):
        raise Conflict(_("This pair is withheld: clear it first."))
    if session.scalar(select(GoldPair.pair_id).where(GoldPair.source_pair_id == pair.id)):
        raise Conflict(_("This pair is gold already."))
    if answer is None:
        answer = _answer_of(session, pair)
    if answer not in ANSWERS:
        raise Invalid(_("answer: one of %(answers)s.", answers=", ".join(ANSWERS)), field="answer")
    copy = Pair(
        project_id=project.id,
        prompt_id=pair.prompt_id,
        completion_a=pair.completion_a,
        completion_b=pair.completion_b,
        finished_a=pair.finished_a,
        finished_b=pair.finished_b,
        state=GOLD,
    )
    session.add(copy)
    session.flush()
    gold = _make(session, project, copy.id, answer, explanation, by, pair.id)
    record(session, "gold.added", project_id=project.id, person_id=by, pairs=1, source=str(pair.id))
    session.flush()
    return gold


def _answer_of(session: Session, pair: Pair) -> str:
    """What the labels of a pair say: the reviewer's, or all of them."""
    rows = session.execute(
        select(_said, Preference.review).where(
            Preference.pair_id == pair.id, _stands, Preference.is_label
        )
    ).all()
    decided = {said for said, review in rows if review}
    said = decided or {said for said, __ in rows}
    if len(said) != 1:
        raise Invalid(_("answer: the labels of this pair do not agree; say it."), field="answer")
    return str(said.pop())


def retire(session: Session, project: Project, pair_id: uuid.UUID, by: uuid.UUID | None) -> None:
    """Show a gold pair to nobody any more, and count its answers for nobody; twice is once.

    Raises:
        NotFound: there is no such gold pair in the project.
    """
    gold = session.get(GoldPair, pair_id, with_for_update=True)
    if gold is None or gold.project_id != project.id:
        raise NotFound(_("There is no such gold pair in this project."))
    if gold.retired_at is None:
        gold.retired_at = func.now()
        record(session, "gold.retired", project_id=project.id, person_id=by, pair=str(pair_id))
    session.flush()


def listed(project_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    """(Pair, GoldPair, prompt, how many answered, how many of them rightly)."""
    given = select(func.count()).where(Preference.pair_id == GoldPair.pair_id, _stands)
    right = given.where(_said == GoldPair.answer)
    return (
        select(
            Pair,
            GoldPair,
            Prompt.content,
            given.correlate(GoldPair).scalar_subquery(),
            right.correlate(GoldPair).scalar_subquery(),
        )
        .join(GoldPair, GoldPair.pair_id == Pair.id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(GoldPair.project_id == project_id)
    )


def view(row: tuple[Pair, GoldPair, Any, int, int]) -> dict[str, Any]:
    """A row of :func:`listed` as JSON."""
    pair, gold, prompt, answered, right = row
    return {
        "pair": pair.id,
        "external_id": pair.external_id,
        "source": gold.source_pair_id,
        "prompt": prompt,
        "completion_a": pair.completion_a,
        "completion_b": pair.completion_b,
        "answer": gold.answer,
        "explanation": gold.explanation,
        "answered": answered,
        "right": right,
        "created_at": gold.created_at,
        "retired_at": gold.retired_at,
    }


def accuracy(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, tuple[int, int]]:
    """(right, answered) of everybody who answered gold that is not retired, skips left out."""
    rows = session.execute(
        select(Preference.person_id, func.count().filter(_said == GoldPair.answer), func.count())
        .join(GoldPair, GoldPair.pair_id == Preference.pair_id)
        .where(
            Preference.project_id == project_id,
            Preference.gold,
            _stands,
            GoldPair.retired_at.is_(None),
        )
        .group_by(Preference.person_id)
    )
    return {person: (right, total) for person, right, total in rows}


def answers(project_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    """Every answer to gold that stands, skips too, oldest first: a file of its own."""
    return (
        select(
            Preference.id,
            Preference.pair_id.label("pair"),
            Pair.external_id,
            GoldPair.answer,
            _said.label("said"),
            Preference.choice,
            Preference.left_is,
            Preference.strength,
            Preference.rationale,
            Preference.answers,
            Preference.seconds,
            Person.email.label("annotator"),
            Round.number.label("round_number"),
            Preference.created_at,
            GoldPair.retired_at,
        )
        .join(GoldPair, GoldPair.pair_id == Preference.pair_id)
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Person, Person.id == Preference.person_id)
        .outerjoin(Round, Round.id == Preference.round_id)
        .where(
            Preference.project_id == project_id, Preference.gold, Preference.deleted_at.is_(None)
        )
        .order_by(Preference.id)
    )


def answer_rows(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows of :func:`answers` for JSON Lines; ``right`` is null for a skip."""
    for row in rows:
        fields = row._asdict()
        right = None if row.choice == "skip" else row.said == row.answer
        yield {**fields, "id": str(row.id), "pair": str(row.pair), "right": right}
