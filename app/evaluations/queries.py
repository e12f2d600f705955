"""All SQL of evaluations: claims on their pairs, who may answer, and what was said."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    and_,
    case,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from app.evaluations.models import OPEN, Evaluation, Output, Outputs
from app.labelling.models import EVALUATION, Claim, Preference
from app.labelling.queries import Taken, claiming, take
from app.language import _
from app.oracles.models import Oracle
from app.people.models import Person, held_roles
from app.policies.models import Policy
from app.projects.models import Pair, Prompt
from app.quality.models import is_set_aside
from app.rounds.models import Run
from app.rounds.queries import is_shown, shuffled

# Pairs of open evaluations that a person may answer: asked of their kind, shown, not seen before.
_FOR_ME = """
    e.project_id = :project AND e.state = 'open'
      AND e.answered_by IN ('anybody', CASE WHEN EXISTS (
              SELECT 1 FROM oracles o WHERE o.person_id = :person AND o.project_id = :project)
            OR EXISTS (SELECT 1 FROM memberships m WHERE m.project_id = :project
                         AND m.person_id = :person AND m.role = 'oracle')
          THEN 'oracle' ELSE 'people' END)
      AND NOT EXISTS (
          SELECT 1 FROM withheld w
          WHERE w.prompt_id = p.prompt_id AND w.cleared_at IS NULL OFFSET 0)
      AND NOT EXISTS (
          SELECT 1 FROM claims c
          WHERE c.pair_id = p.id AND c.person_id = :person AND c.state = ANY(:had)
          OFFSET 0)
"""
_HAD = ["live", "answered", "skipped"]

# As `app.labelling.queries` takes those of a batch.
_TAKE = claiming(
    f"""
        SELECT p.id AS pair_id, p.evaluation_id, s.n
        FROM evaluations e JOIN pairs p ON p.evaluation_id = e.id CROSS JOIN LATERAL (
            SELECT g.n FROM generate_series(0, p.slots - 1) AS g(n)
            WHERE NOT EXISTS (
                SELECT 1 FROM claims c
                WHERE c.pair_id = p.id AND c.slot = g.n AND c.state IN ('live', 'answered'))
            LIMIT 1) s
        WHERE {_FOR_ME}
        ORDER BY e.number, p.rank, p.id
        LIMIT :count
        FOR UPDATE OF p SKIP LOCKED
    """,  # noqa: S608  (no value is in it)
    of="evaluation_id",
    owner="evaluation_id",
    slot="n",
)

_LEFT = text(
    f"""
    SELECT count(*) FROM evaluations e JOIN pairs p ON p.evaluation_id = e.id
    WHERE {_FOR_ME}
      AND p.slots > (SELECT count(*) FROM claims c WHERE c.pair_id = p.id AND c.state = 'answered')
    """  # noqa: S608
)

# One row for each value of what a pair's answers come to: few rows, however many pairs. An answer
# is a win of side A (1), of side B (0), or neither (½); late ones and those set aside are left out.
_TALLY = text(
    """
    WITH said AS (
        SELECT p.id, p.completion_a = p.completion_b AS equal,
               count(q.id) AS n,
               coalesce(avg(CASE WHEN q.chosen IS NULL THEN 0.5
                                 WHEN (q.chosen = 'a') <> p.swapped THEN 1.0
                                 ELSE 0.0 END), 0.5)::float8 AS score,
               (SELECT count(*) FROM claims c
                WHERE c.pair_id = p.id AND c.state = 'answered') >= p.slots AS filled,
               EXISTS (SELECT 1 FROM withheld w
                       WHERE w.prompt_id = p.prompt_id AND w.cleared_at IS NULL) AS withheld
        FROM pairs p LEFT JOIN preferences q
          ON q.evaluation_id = p.evaluation_id AND q.pair_id = p.id AND q.deleted_at IS NULL
         AND q.choice <> 'skip' AND NOT q.late
         AND NOT EXISTS (SELECT 1 FROM set_asides s
                         WHERE s.project_id = q.project_id AND s.person_id = q.person_id)
        WHERE p.evaluation_id = :evaluation
        GROUP BY p.id
    )
    SELECT score, equal, n > 0 AS answered, filled, NOT filled AND NOT withheld AS waiting,
           count(*) AS pairs, sum(n)::int AS answers
    FROM said GROUP BY 1, 2, 3, 4, 5
    """
)


@dataclass(frozen=True)
class Tally:
    """What the answers come to so far, by pairs.

    Attributes:
        scores: how often each share of A's wins came, of pairs with every answer that they get.
        all_scores: the same with those that have some answers already.
        waiting: pairs that somebody may still answer.
        answers: how many answers count.
        identical: pairs whose sides wrote the same, a tie that nobody is asked about.
    """

    scores: dict[float, int] = field(default_factory=dict)
    all_scores: dict[float, int] = field(default_factory=dict)
    waiting: int = 0
    answers: int = 0
    identical: int = 0


def tally(session: Session, evaluation_id: uuid.UUID) -> Tally:
    """Count what was said in an evaluation."""
    complete: dict[float, int] = {}
    every: dict[float, int] = {}
    waiting = answers = identical = 0
    for row in session.execute(_TALLY, {"evaluation": evaluation_id}):
        waiting += row.pairs if row.waiting else 0
        answers += row.answers
        identical += row.pairs if row.equal else 0
        if row.equal or row.answered:
            every[row.score] = every.get(row.score, 0) + row.pairs
            if row.equal or row.filled:
                complete[row.score] = complete.get(row.score, 0) + row.pairs
    return Tally(complete, every, waiting, answers, identical)


def lock(session: Session, evaluation_id: uuid.UUID | None) -> Evaluation | None:
    """The evaluation, locked as rounds are: claims may be made meanwhile."""
    if evaluation_id is None:
        return None
    return session.scalar(
        select(Evaluation)
        .where(Evaluation.id == evaluation_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def take_claims(
    session: Session, project_id: uuid.UUID, person_id: uuid.UUID, count: int, seconds: int
) -> Taken:
    """Claim up to ``count`` free slots of the project's open evaluations for a person."""
    values = {"project": project_id, "person": person_id, "count": count, "seconds": seconds}
    return take(session, _TAKE, {**values, "had": _HAD})


def left_for(
    session: Session, project_id: uuid.UUID, person_id: uuid.UUID, *, held: bool = False
) -> int:
    """Pairs of open evaluations that want answers and that a person has not had; with ``held`` also
    those that they hold now."""
    had = _HAD[1:] if held else _HAD
    values = {"project": project_id, "person": person_id, "had": had}
    return session.scalar(_LEFT, values) or 0


def expire_claims(session: Session, project_id: uuid.UUID) -> None:
    """Give claims on the project's evaluations whose time ran out back."""
    asking = select(Evaluation.id).where(
        Evaluation.project_id == project_id, Evaluation.state == OPEN
    )
    stale = select(Claim.id).where(
        Claim.evaluation_id.in_(asking), Claim.state == "live", Claim.expires_at < func.now()
    )
    session.execute(
        update(Claim)
        .where(Claim.id.in_(stale.with_for_update(skip_locked=True)))
        .values(state="expired")
        .execution_options(synchronize_session=False)
    )


def eligible(session: Session, evaluation: Evaluation) -> set[uuid.UUID]:
    """Who could still answer: active members, and whoever has claimed in it, of the kind asked."""
    held = held_roles()
    members = select(held.c.person_id).where(held.c.project_id == evaluation.project_id)
    claimers = select(Claim.person_id).where(Claim.evaluation_id == evaluation.id)
    oracles = or_(
        Person.id.in_(select(Oracle.person_id).where(Oracle.project_id == evaluation.project_id)),
        Person.id.in_(members.where(held.c.role == "oracle")),
    )
    of_kind = {"people": ~oracles, "oracle": oracles, "anybody": literal(True)}
    return set(
        session.scalars(
            select(Person.id).where(
                Person.active,
                Person.id.in_(members) | Person.id.in_(claimers),
                of_kind[evaluation.answered_by],
            )
        )
    )


def had(session: Session, pair_id: uuid.UUID, state: str) -> set[uuid.UUID]:
    """Whose claim on the pair is in ``state``."""
    mine = and_(Claim.pair_id == pair_id, Claim.state == state)
    return set(session.scalars(select(Claim.person_id).where(mine)))


def release_claims(session: Session, evaluation_id: uuid.UUID) -> None:
    """Nobody needs to answer what they hold of it."""
    mine = and_(Claim.evaluation_id == evaluation_id, Claim.state == "live")
    session.execute(update(Claim).where(mine).values(state="released"))


def last_number(session: Session, project_id: uuid.UUID) -> int:
    """The number of the newest evaluation; 0 where there is none."""
    newest = select(func.max(Evaluation.number)).where(Evaluation.project_id == project_id)
    return session.scalar(newest) or 0


def draw_prompts(
    session: Session, evaluation: Evaluation, outputs: Sequence[uuid.UUID], most: int
) -> list[uuid.UUID]:
    """Ids of the prompts asked, in seeded random order: those of the split that every one of the
    imported outputs answers, and that are not withheld."""
    query = select(Prompt.id).where(
        Prompt.project_id == evaluation.project_id, ~Prompt.gold, is_shown(Prompt.id)
    )
    if evaluation.prompts != "all":
        query = query.where(Prompt.split == evaluation.prompts)
    for one in outputs:
        answered = select(Output.prompt_id).where(
            Output.outputs_id == one, Output.prompt_id == Prompt.id
        )
        query = query.where(answered.exists())
    return list(session.scalars(query.order_by(shuffled(Prompt.id, evaluation.seed)).limit(most)))


def completions(
    session: Session, outputs_id: uuid.UUID, prompts: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """Imported completions by prompt."""
    query = select(Output.prompt_id, Output.completion).where(
        Output.outputs_id == outputs_id, Output.prompt_id.in_(prompts)
    )
    return dict(session.execute(query).all())


def add_pairs(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Store pairs of an evaluation."""
    if rows:
        session.execute(insert(Pair), [{"state": EVALUATION, **row} for row in rows])


def pairs_of(session: Session, evaluation_id: uuid.UUID) -> int:
    """How many pairs are stored."""
    query = select(func.count()).where(Pair.evaluation_id == evaluation_id)
    return session.scalar(query) or 0


def unfinished_shards(session: Session, evaluation_id: uuid.UUID) -> int:
    """Shards that are not stored yet."""
    query = select(func.count()).where(Run.evaluation_id == evaluation_id, Run.state != "done")
    return session.scalar(query) or 0


def listed(project_id: uuid.UUID) -> Select[Evaluation]:
    """The evaluations of a project."""
    return select(Evaluation).where(Evaluation.project_id == project_id)


def outputs_of(project_id: uuid.UUID) -> Select[Outputs]:
    """The imported outputs of a project."""
    return select(Outputs).where(Outputs.project_id == project_id)


def uses_outputs(session: Session, outputs_id: uuid.UUID) -> bool:
    """Whether some evaluation compares these outputs."""
    sides = or_(Evaluation.outputs_a_id == outputs_id, Evaluation.outputs_b_id == outputs_id)
    return session.scalar(select(Evaluation.id).where(sides).limit(1)) is not None


def side_names(session: Session, evaluations: Sequence[Evaluation]) -> dict[uuid.UUID, str]:
    """What the sides of evaluations are called, by the id of the policy or the outputs."""
    policies = {id for e in evaluations for id in (e.policy_a_id, e.policy_b_id) if id}
    outputs = {id for e in evaluations for id in (e.outputs_a_id, e.outputs_b_id) if id}
    numbered = session.execute(select(Policy.id, Policy.number).where(Policy.id.in_(policies)))
    named = session.execute(select(Outputs.id, Outputs.name).where(Outputs.id.in_(outputs)))
    of_policies = {
        id: _("policy %(number)s", number=number) if number else "π₀" for id, number in numbered
    }
    return {**of_policies, **dict(named.all())}


def by_annotator(session: Session, evaluation_id: uuid.UUID) -> Sequence[Row[Any]]:
    """(person, e-mail, name, wins of A, ties, both bad, wins of B, skips, set aside) of everybody
    who answered, the busiest first; late answers left out."""
    a_won = and_(Preference.chosen.is_not(None), (Preference.chosen == "a") != Pair.swapped)
    b_won = and_(Preference.chosen.is_not(None), ~a_won)

    def count(what: Any) -> Any:
        return func.count(case((what, 1)))

    return session.execute(
        select(
            Person.id,
            Person.email,
            Person.name,
            count(a_won).label("wins"),
            count(Preference.choice == "tie").label("ties"),
            count(Preference.choice == "both_bad").label("both_bad"),
            count(b_won).label("losses"),
            count(Preference.choice == "skip").label("skips"),
            func.bool_or(is_set_aside()).label("set_aside"),
        )
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Person, Person.id == Preference.person_id)
        .where(
            Preference.evaluation_id == evaluation_id,
            Preference.deleted_at.is_(None),
            Preference.late == false(),
        )
        .group_by(Person.id)
        .order_by(func.count().desc(), Person.email)
    ).all()


def answers(evaluation_id: uuid.UUID) -> Select[*tuple[Any, ...]]:
    """Every answer with its prompt and texts, oldest first; late and set aside ones too."""
    return (
        select(
            Preference.id,
            Preference.choice,
            Preference.chosen,
            Preference.left_is,
            Preference.strength,
            Preference.rationale,
            Preference.p_left,
            Preference.judge,
            Preference.flags,
            Preference.reason,
            Preference.answers,
            Preference.seconds,
            Preference.late,
            Preference.created_at,
            is_set_aside().label("set_aside"),
            Pair.id.label("pair"),
            Pair.swapped,
            Pair.completion_a,
            Pair.completion_b,
            Prompt.content.label("prompt"),
            Prompt.external_id,
            Person.email.label("annotator"),
        )
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(Person, Person.id == Preference.person_id)
        .where(Preference.evaluation_id == evaluation_id, Preference.deleted_at.is_(None))
        .order_by(Preference.id)
    )


def standing(session: Session, project_id: uuid.UUID) -> tuple[int, int]:
    """(slots answered, slots there are) over the project's open evaluations."""
    asking = select(Evaluation.id).where(
        Evaluation.project_id == project_id, Evaluation.state == OPEN
    )
    slots = select(func.coalesce(func.sum(Pair.slots), 0)).where(Pair.evaluation_id.in_(asking))
    done = select(func.count()).where(Claim.evaluation_id.in_(asking), Claim.state == "answered")
    return session.scalar(done) or 0, session.scalar(slots) or 0
