"""Practice before the real pairs: a few pairs with an explained answer, told after each.

A try is all of a project's practice pairs once, in their order. Where the project sets a pass
mark, nobody is given real pairs before one try reached it; oracles and who runs the project are
not asked. Callers commit.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.labelling.practice_models import PracticeAnswer, PracticePair, PracticeResult
from app.language import _
from app.people.access import Actor, may, role_in
from app.projects.models import Project
from app.rounds.events import record

CHOICES = ("left", "right", "tie", "both_bad")


@dataclass(frozen=True)
class Standing:
    """How far somebody is.

    Attributes:
        pairs: how many pairs a try has.
        attempt: the number of the try that is under way or comes next, from 1.
        answered: of that try, the newest last.
        next: the pair that comes next; None where there is none.
        left_is: which completion of ``next`` stands on the left, a or b.
        last: how the newest finished try went.
        passed: whether any try reached the mark.
    """

    pairs: int
    attempt: int
    answered: Sequence[PracticeAnswer]
    next: PracticePair | None
    left_is: str
    last: PracticeResult | None
    passed: bool

    @property
    def right(self) -> int:
        """Right answers of the try under way."""
        return sum(one.right for one in self.answered)


def pairs_of(session: Session, project_id: uuid.UUID) -> list[PracticePair]:
    """The project's practice pairs, in their order."""
    query = select(PracticePair).where(PracticePair.project_id == project_id)
    return list(session.scalars(query.order_by(PracticePair.position, PracticePair.id)))


def standing(session: Session, project: Project, person_id: uuid.UUID) -> Standing:
    """How far a person is with the project's practice."""
    pairs = pairs_of(session, project.id)
    last = session.scalar(
        select(PracticeResult)
        .where(PracticeResult.project_id == project.id, PracticeResult.person_id == person_id)
        .order_by(PracticeResult.attempt.desc())
        .limit(1)
    )
    attempt = 1 + (last.attempt if last else 0)
    answered = session.scalars(
        select(PracticeAnswer)
        .join(PracticePair, PracticePair.id == PracticeAnswer.pair_id)
        .where(
            PracticePair.project_id == project.id,
            PracticeAnswer.person_id == person_id,
            PracticeAnswer.attempt == attempt,
        )
        .order_by(PracticeAnswer.id)
    ).all()
    done = {one.pair_id for one in answered}
    following = next((pair for pair in pairs if pair.id not in done), None)
    side = left_is(following.id, person_id, attempt) if following else "a"
    passed = bool(last and has_passed(session, project, person_id))
    return Standing(len(pairs), attempt, answered, following, side, last, passed)


def left_is(pair_id: uuid.UUID, person_id: uuid.UUID, attempt: int) -> str:
    """Which completion stands on the left: by chance, and the same at every look of one try."""
    digest = hashlib.sha256(pair_id.bytes + person_id.bytes + str(attempt).encode()).digest()
    return "a" if digest[0] < 128 else "b"


def by_sides(pair: PracticePair, left_is: str) -> tuple[str, str]:
    """What stands on the left and on the right."""
    both = pair.completion_a, pair.completion_b
    return both if left_is == "a" else (both[1], both[0])


def enough(project: Project) -> ColumnElement[bool]:
    """Whether a try passed by the mark of its day or, where there was none, by today's."""
    mark = project.practice_pass or 0.0
    by_today = PracticeResult.right >= mark * PracticeResult.total
    return func.coalesce(PracticeResult.passed, by_today)


def has_passed(session: Session, project: Project, person_id: uuid.UUID) -> bool:
    """Whether some try of the person's reached the mark."""
    mine = (PracticeResult.project_id == project.id, PracticeResult.person_id == person_id)
    query = select(PracticeResult.attempt).where(*mine, enough(project))
    return session.scalar(query.limit(1)) is not None


def is_asked(session: Session, project: Project, actor: Actor) -> bool:
    """Whether the actor has to pass practice before the project gives them real pairs."""
    if project.practice_pass is None or has_passed(session, project, actor.person.id):
        return False
    role = role_in(session, actor.person.id, project.id)
    by_key = actor.key is not None and (role == "oracle" or actor.scope == "oracle")
    if by_key or may(actor, role, "manage"):
        return False
    query = select(PracticePair.id).where(PracticePair.project_id == project.id)
    return session.scalar(query.limit(1)) is not None


def require(session: Session, project: Project, actor: Actor) -> None:
    """Raise :class:`Forbidden` where the actor has to practise first."""
    if is_asked(session, project, actor):
        raise Forbidden(
            _(
                "This project wants practice first: answer its practice pairs "
                "(/projects/%(id)s/practice) until you reach its mark.",
                id=project.id,
            ),
            practice=f"/projects/{project.id}/practice",
        )


def answer(
    session: Session, project: Project, person_id: uuid.UUID, pair_id: uuid.UUID, choice: str
) -> tuple[PracticeAnswer, PracticeResult | None]:
    """Store an answer of the try under way; the last one ends the try.

    Raises:
        NotFound: no such practice pair in the project.
        Conflict: another pair comes next: this one is answered, or the pairs have changed.
        Invalid: no such choice.
    """
    if choice not in CHOICES:
        raise Invalid(_("choice: one of %(choices)s.", choices=", ".join(CHOICES)), field="choice")
    _alone(session, person_id)
    pair = session.get(PracticePair, pair_id)
    if pair is None or pair.project_id != project.id:
        raise NotFound(_("There is no such practice pair in this project."))
    at = standing(session, project, person_id)
    if at.next is None or at.next.id != pair.id:
        raise Conflict(_("This practice pair is not the next one: load the page again."))
    sides = {"left": at.left_is, "right": "b" if at.left_is == "a" else "a"}
    said = sides.get(choice, choice)
    given = PracticeAnswer(
        person_id=person_id,
        pair_id=pair.id,
        attempt=at.attempt,
        choice=choice,
        left_is=at.left_is,
        said=said,
        right=said == pair.answer,
    )
    session.add(given)
    session.flush()
    if len(at.answered) + 1 < at.pairs:
        return given, None
    return given, _finish(session, project, person_id, at, at.right + given.right)


def _alone(session: Session, person_id: uuid.UUID) -> None:
    """Two answers of one person at once come one after the other."""
    key = int.from_bytes(person_id.bytes[8:], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(key)))


def _finish(
    session: Session, project: Project, person_id: uuid.UUID, at: Standing, right: int
) -> PracticeResult:
    mark = project.practice_pass
    result = PracticeResult(
        project_id=project.id,
        person_id=person_id,
        attempt=at.attempt,
        right=right,
        total=at.pairs,
        passed=None if mark is None else right >= mark * at.pairs,
    )
    session.add(result)
    record(
        session,
        "practice.finished",
        project_id=project.id,
        person_id=person_id,
        attempt=at.attempt,
        right=right,
        total=at.pairs,
        passed=result.passed,
    )
    session.flush()
    return result
