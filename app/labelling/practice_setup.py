"""What who runs a project does about practice: its pairs, and how everybody's tries went.

Callers commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, NotFound
from app.labelling.models import ANSWERS
from app.labelling.practice import enough, pairs_of
from app.labelling.practice_models import PracticeAnswer, PracticePair, PracticeResult
from app.language import _
from app.people.models import Person
from app.projects import content
from app.projects.models import Project
from app.rounds.events import record

MOST_PAIRS = 50
LONGEST_EXPLANATION = 4_000


@dataclass(frozen=True)
class NewPractice:
    """A practice pair as an admin gives it; ``explanation`` is shown after the answer."""

    prompt: content.Content
    completion_a: str
    completion_b: str
    answer: str
    explanation: str


def checked(fields: dict[str, Any]) -> NewPractice:
    """A practice pair whose fields can all be stored.

    Raises:
        Invalid: naming the field.
    """
    found: dict[str, Any] = {}
    checks = {
        "prompt": content.prompt,
        "completion_a": content.completion,
        "completion_b": content.completion,
        "explanation": content.completion,
    }
    for name, check in checks.items():
        try:
            found[name] = check(fields.get(name, ""))
        except ValueError as error:
            raise Invalid(_("%(name)s: %(error)s", name=name, error=error), field=name) from None
    if len(found["explanation"]) > LONGEST_EXPLANATION:
        longest = f"{LONGEST_EXPLANATION:,}"
        raise Invalid(
            _("explanation: is longer than %(longest)s characters", longest=longest),
            field="explanation",
        )
    if fields.get("answer") not in ANSWERS:
        raise Invalid(_("answer: one of %(answers)s.", answers=", ".join(ANSWERS)), field="answer")
    return NewPractice(answer=fields["answer"], **found)


def add(session: Session, project: Project, new: NewPractice, by: uuid.UUID | None) -> PracticePair:
    """Put a practice pair behind the others; tries that are under way get it as well.

    Raises:
        Conflict: there are as many as there may be.
    """
    there = pairs_of(session, project.id)
    if len(there) >= MOST_PAIRS:
        raise Conflict(
            _("There are %(most_pairs)s practice pairs: take one out first.", most_pairs=MOST_PAIRS)
        )
    position = there[-1].position + 1 if there else 0
    pair = _stored(session, project, position, new)
    _tell(session, project, len(there) + 1, by)
    return pair


def replace_all(
    session: Session, project: Project, news: Sequence[NewPractice], by: uuid.UUID | None
) -> list[PracticePair]:
    """Set the practice pairs; tries under way begin anew, finished ones keep their results.

    Raises:
        Invalid: more than there may be.
    """
    if len(news) > MOST_PAIRS:
        raise Invalid(_("pairs: at most %(most_pairs)s.", most_pairs=MOST_PAIRS), field="pairs")
    session.execute(delete(PracticePair).where(PracticePair.project_id == project.id))
    made = [_stored(session, project, position, new) for position, new in enumerate(news)]
    _tell(session, project, len(made), by)
    return made


def remove(session: Session, project: Project, pair_id: uuid.UUID, by: uuid.UUID | None) -> None:
    """Take a practice pair out, with what was said of it; results stay, tries under way begin anew.

    Raises:
        NotFound: no such practice pair in the project.
    """
    pair = session.get(PracticePair, pair_id)
    if pair is None or pair.project_id != project.id:
        raise NotFound(_("There is no such practice pair in this project."))
    session.delete(pair)
    session.flush()
    mine = select(PracticePair.id).where(PracticePair.project_id == project.id)
    finished = select(PracticeResult.attempt).where(
        PracticeResult.project_id == project.id,
        PracticeResult.person_id == PracticeAnswer.person_id,
        PracticeResult.attempt == PracticeAnswer.attempt,
    )
    under_way = PracticeAnswer.pair_id.in_(mine) & ~finished.exists()
    session.execute(delete(PracticeAnswer).where(under_way))
    _tell(session, project, len(pairs_of(session, project.id)), by)


def _stored(session: Session, project: Project, position: int, new: NewPractice) -> PracticePair:
    pair = PracticePair(project_id=project.id, position=position, **vars(new))
    session.add(pair)
    session.flush()
    return pair


def _tell(session: Session, project: Project, pairs: int, by: uuid.UUID | None) -> None:
    record(session, "practice.changed", project_id=project.id, person_id=by, pairs=pairs)
    session.flush()


@dataclass(frozen=True)
class OfPerson:
    """How somebody's tries went: their number, the best one's share, whether one passed."""

    person_id: uuid.UUID
    name: str
    email: str
    tries: int
    best: float
    passed: bool
    last: Any

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "person": self.person_id,
            "name": self.name,
            "email": self.email,
            "tries": self.tries,
            "best": self.best,
            "passed": self.passed,
            "last": self.last,
        }


def results(session: Session, project: Project) -> list[OfPerson]:
    """How everybody's finished tries went, by address."""
    best = func.max(PracticeResult.right * 1.0 / PracticeResult.total)
    rows = session.execute(
        select(
            Person.id,
            Person.name,
            Person.email,
            func.count(),
            best,
            func.bool_or(enough(project)),
            func.max(PracticeResult.finished_at),
        )
        .join(Person, Person.id == PracticeResult.person_id)
        .where(PracticeResult.project_id == project.id)
        .group_by(Person.id)
        .order_by(Person.email)
    )
    return [
        OfPerson(id, name or email, email, tries, float(best), passed, last)
        for id, name, email, tries, best, passed, last in rows
    ]


def reset(session: Session, project: Project, person_id: uuid.UUID, by: uuid.UUID | None) -> None:
    """Forget a person's results in the project, so that they have to practise anew."""
    where = (PracticeResult.project_id == project.id, PracticeResult.person_id == person_id)
    session.execute(delete(PracticeResult).where(*where))
    mine = select(PracticePair.id).where(PracticePair.project_id == project.id)
    session.execute(
        delete(PracticeAnswer).where(
            PracticeAnswer.person_id == person_id, PracticeAnswer.pair_id.in_(mine)
        )
    )
    record(session, "practice.reset", project_id=project.id, person_id=by, annotator=str(person_id))
    session.flush()
