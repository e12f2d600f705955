"""All SQL of claims and preferences."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    Select,
    TextClause,
    Uuid,
    and_,
    any_,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, load_only

from app.labelling.models import OWN_SLOT, Claim, Preference
from app.people.access import REVIEWERS
from app.people.models import Person, held_roles
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round


def claiming(free: str, *, of: str, owner: str, slot: str) -> TextClause:
    """The statement that claims slots for a person: see :func:`take`.

    Args:
        free: SQL of the free slots: ``pair_id``, and what ``owner`` and ``slot`` name.
        of, owner: the claim's column for what the pair is asked in, and its value.
        slot: which slot of the pair.
    """
    return text(
        f"""
    WITH free AS (
{free}
    ), taken AS (
        INSERT INTO claims (id, project_id, {of}, pair_id, slot, person_id, left_is, state,
                            expires_at)
        SELECT gen_random_uuid(), :project, {owner}, pair_id, {slot}, :person,
               CASE WHEN get_byte(uuid_send(gen_random_uuid()), 0) < 128 THEN 'a' ELSE 'b' END,
               'live', now() + make_interval(secs => :seconds)
        FROM free
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT (SELECT count(*) FROM free) AS seen, array_agg(id) AS ids FROM taken
    """  # noqa: S608  (no value is in it)
    )


@dataclass(frozen=True)
class Taken:
    """Claims that were made, and how many slots were ``seen`` to be free a moment before.

    Where they are fewer, another claimer took one in that moment: there may be more.
    """

    seen: int
    ids: list[uuid.UUID]


def take(session: Session, statement: TextClause, values: dict[str, Any]) -> Taken:
    """Claim by a statement of :func:`claiming`."""
    found = session.execute(statement, values).one()
    return Taken(found.seen, found.ids or [])


# One statement: lock free pairs in the acquisition's order, skipping those that somebody else
# is claiming this instant, and take the first free slot of each. A slot taken since the
# snapshot meets the unique index and is left out: the caller sees that, and asks again.
# OFFSET 0 keeps the look at a pair's claims one look by the index on the pair: as a join it is
# planned by statistics, and while these know of no claims every pair would read all of a person's.
_TAKE = claiming(
    """
        SELECT p.id AS pair_id, s.n
        FROM pairs p CROSS JOIN LATERAL (
            SELECT g.n FROM generate_series(0, p.slots - 1) AS g(n)
            WHERE NOT EXISTS (
                SELECT 1 FROM claims c
                WHERE c.pair_id = p.id AND c.slot = g.n AND c.state IN ('live', 'answered'))
            LIMIT 1) s
        WHERE p.round_id = :round AND p.state = 'open' AND (:reviewer OR NOT p.review)
          AND NOT EXISTS (
              SELECT 1 FROM withheld w
              WHERE w.prompt_id = p.prompt_id AND w.cleared_at IS NULL OFFSET 0)
          AND NOT EXISTS (
              SELECT 1 FROM claims c
              WHERE c.pair_id = p.id AND c.person_id = :person
                AND c.state IN ('live', 'answered', 'skipped')
              OFFSET 0)
          AND (CAST(:behind AS uuid) IS NULL OR EXISTS (
              SELECT 1 FROM claims c
              WHERE c.pair_id = p.id AND c.person_id = :behind
                AND c.state IN ('answered', 'skipped')
              OFFSET 0))
        ORDER BY p.rank, p.id
        LIMIT :count
        FOR UPDATE OF p SKIP LOCKED
    """,
    of="round_id",
    owner=":round",
    slot="n",
)

# The same for an oracle that labels beside people: a slot of its own, also where theirs are full.
_TAKE_BESIDE = claiming(
    """
        SELECT p.id AS pair_id
        FROM pairs p
        WHERE p.round_id = :round AND p.state IN ('open', 'answered')
          AND NOT EXISTS (
              SELECT 1 FROM withheld w
              WHERE w.prompt_id = p.prompt_id AND w.cleared_at IS NULL OFFSET 0)
          AND NOT EXISTS (
              SELECT 1 FROM claims c
              WHERE c.pair_id = p.id AND c.person_id = :person
                AND c.state IN ('live', 'answered', 'skipped')
              OFFSET 0)
        ORDER BY p.rank, p.id
        LIMIT :count
        FOR UPDATE OF p SKIP LOCKED
    """,
    of="round_id",
    owner=":round",
    slot=":own",
)

# Pairs of the round that this person could still answer but that others hold.
_HELD = text(
    """
    SELECT count(*) FROM pairs p
    WHERE p.round_id = :round AND p.state = 'open' AND (:reviewer OR NOT p.review)
      AND NOT EXISTS (
          SELECT 1 FROM claims c
          WHERE c.pair_id = p.id AND c.person_id = :person
            AND c.state IN ('live', 'answered', 'skipped')
          OFFSET 0)
    """
)


def one_of(ids: Sequence[uuid.UUID]) -> Any:
    """What a column of ids is compared with to be one of ``ids``."""
    return any_(literal(list(ids), ARRAY(Uuid)))


def expire_claims(session: Session, round_id: uuid.UUID | None = None) -> int:
    """Give claims whose time ran out back to the pool (of one round, or of all)."""
    stale = select(Claim.id).where(Claim.state == "live", Claim.expires_at < func.now())
    if round_id is not None:
        pairs = select(Pair.id).where(Pair.round_id == round_id, Pair.state == "open")
        gold = and_(Claim.round_id == round_id, Claim.slot > OWN_SLOT)
        stale = stale.where(Claim.pair_id.in_(pairs) | gold)
    result = session.execute(
        update(Claim)
        .where(Claim.id.in_(stale.with_for_update(skip_locked=True)))
        .values(state="expired")
        .returning(Claim.id)
        .execution_options(synchronize_session=False)
    )
    return len(result.all())


def take_claims(
    session: Session,
    round: Round,
    person_id: uuid.UUID,
    count: int,
    seconds: int,
    *,
    reviewer: bool,
    behind: uuid.UUID | None = None,
    beside: bool = False,
) -> Taken:
    """Claim up to ``count`` free slots of the round's pairs for a person.

    Args:
        behind: only pairs that this oracle has answered or skipped.
        beside: for an oracle that labels beside people, in slots of its own.
    """
    values = {
        "project": round.project_id,
        "round": round.id,
        "person": person_id,
        "seconds": seconds,
        "count": count,
    }
    if beside:
        return take(session, _TAKE_BESIDE, {**values, "own": OWN_SLOT})
    return take(session, _TAKE, {**values, "reviewer": reviewer, "behind": behind})


def held_by_others(
    session: Session, round_id: uuid.UUID, person_id: uuid.UUID, *, reviewer: bool
) -> int:
    """Open pairs of the round this person may answer once their holders give them back."""
    values = {"round": round_id, "person": person_id, "reviewer": reviewer}
    return session.scalar(_HELD, values) or 0


def claim_texts(session: Session, ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """(Claim, completion_a, completion_b, prompt) of claims, in the batch's order, those of
    evaluations first."""
    return session.execute(
        select(Claim, Pair.completion_a, Pair.completion_b, Prompt.content)
        .join(Pair, Pair.id == Claim.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(Claim.id == one_of(ids))
        .order_by(Pair.evaluation_id.is_(None), Pair.rank, Pair.id)
    ).all()


def extend_claim(session: Session, claim_id: uuid.UUID, person_id: uuid.UUID, seconds: int) -> bool:
    """Let a live claim of the person last ``seconds`` from now, or longer where it does already;
    False where they have no such claim. One statement, and no lock but the claim's own: a claim
    that is live, even past its time, has its slot until somebody marks it as expired.
    """
    ends = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    held = (Claim.id == claim_id, Claim.person_id == person_id, Claim.state == "live")
    extended = update(Claim).where(*held).values(expires_at=func.greatest(Claim.expires_at, ends))
    return session.scalar(extended.returning(Claim.id)) is not None


def claim_of(session: Session, claim_id: uuid.UUID, person_id: uuid.UUID) -> Claim | None:
    """The person's claim."""
    return session.scalar(
        select(Claim)
        .where(Claim.id == claim_id, Claim.person_id == person_id)
        .execution_options(populate_existing=True)
    )


def lock_pair(session: Session, pair_id: uuid.UUID) -> Pair:
    """The pair, locked: slots are given out and filled under this lock."""
    return session.scalars(
        select(Pair)
        .where(Pair.id == pair_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def opinions(session: Session, pair_id: uuid.UUID) -> set[str]:
    """The different things that annotators said of a pair, skips left out."""
    said = func.coalesce(Preference.chosen, Preference.choice)
    return set(
        session.scalars(
            select(said)
            .join(Claim, Claim.id == Preference.claim_id)
            .where(
                Claim.slot < OWN_SLOT,
                Preference.pair_id == pair_id,
                Preference.deleted_at.is_(None),
                Preference.choice != "skip",
            )
        )
    )


def reviewers(session: Session, project_id: uuid.UUID) -> set[uuid.UUID]:
    """Who may decide where annotators disagree: reviewers, managers, admins of the site."""
    held = held_roles()
    members = select(held.c.person_id).where(
        held.c.project_id == project_id, held.c.role.in_(REVIEWERS)
    )
    return set(
        session.scalars(
            select(Person.id).where(
                Person.active, (Person.role == "admin") | Person.id.in_(members)
            )
        )
    )


def claims_on(session: Session, pair_id: uuid.UUID) -> list[Claim]:
    """Every claim on a pair that holds a slot or keeps a person from it."""
    return list(
        session.scalars(
            select(Claim)
            .where(Claim.pair_id == pair_id, Claim.state.in_(("live", "answered", "skipped")))
            .execution_options(populate_existing=True)
        )
    )


def untouched_pair(session: Session, round_id: uuid.UUID, instead_of: Pair) -> Pair | None:
    """The least wanted open pair of the round that nobody has looked at, locked."""
    touched = select(Claim.id).where(Claim.pair_id == Pair.id)
    return session.scalar(
        select(Pair)
        .where(
            Pair.round_id == round_id,
            Pair.state == "open",
            Pair.audit == instead_of.audit,
            Pair.id != instead_of.id,
            ~touched.exists(),
        )
        .order_by(Pair.rank.desc(), Pair.id.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def live_claims(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> list[uuid.UUID]:
    """What a person holds now in a project, oldest first."""
    return list(
        session.scalars(
            select(Claim.id)
            .where(
                Claim.project_id == project_id,
                Claim.person_id == person_id,
                Claim.state == "live",
                Claim.expires_at > func.now(),
            )
            .order_by(Claim.created_at)
        )
    )


def preference_on(session: Session, pair_id: uuid.UUID, person_id: uuid.UUID) -> Preference | None:
    """What a person said of a pair, if it stands."""
    return session.scalar(
        select(Preference).where(
            Preference.pair_id == pair_id,
            Preference.person_id == person_id,
            Preference.deleted_at.is_(None),
        )
    )


def preference_of(
    session: Session, preference_id: uuid.UUID, person_id: uuid.UUID
) -> Preference | None:
    """The person's own preference, if it stands."""
    return session.scalar(
        select(Preference).where(
            Preference.id == preference_id,
            Preference.person_id == person_id,
            Preference.deleted_at.is_(None),
        )
    )


def labels(project_id: uuid.UUID, person_id: uuid.UUID | None = None) -> Select[Any]:
    """(Preference, Pair, prompt, annotator's address) of a project's labels, or of all that one
    person said: their answers to gold pairs are among it, and look no different."""
    query = (
        select(Preference, Pair, Prompt.content, Person.email)
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(Person, Person.id == Preference.person_id)
        .options(load_only(Pair.external_id, Pair.policy_id))
        .where(Preference.project_id == project_id, Preference.deleted_at.is_(None))
    )
    if person_id is None:
        return query.where(Preference.is_label)
    mine = query.where(Preference.person_id == person_id)
    return mine.where(Preference.evaluation_id.is_(None))


def project_of(session: Session, subject: uuid.UUID) -> uuid.UUID | None:
    """The project of a claim or preference, by its id."""
    return session.scalar(
        select(Claim.project_id)
        .where(Claim.id == subject)
        .union_all(select(Preference.project_id).where(Preference.id == subject))
        .limit(1)
    )


def quota_left(
    session: Session, project: Project, round_id: uuid.UUID, person_id: uuid.UUID
) -> int:
    """How many further pairs a person may have; to be asked only where a quota is set. Pairs of
    evaluations do not count.

    Two calls of one person at once ask one after the other: locked to the transaction's end.
    """
    key = int.from_bytes(person_id.bytes[8:], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(key)))
    taken, in_round = session.execute(
        select(func.count(), func.count().filter(Claim.round_id == round_id)).where(
            Claim.project_id == project.id,
            Claim.person_id == person_id,
            Claim.state.in_(("live", "answered")),
            Claim.evaluation_id.is_(None),
        )
    ).one()
    limits = ((project.quota, taken), (project.quota_per_round, in_round))
    return max(0, min(limit - used for limit, used in limits if limit is not None))


def at_quota(session: Session, project: Project, round_id: uuid.UUID) -> set[uuid.UUID]:
    """Who has answered as many pairs as they may, and so waits for no skipped one."""
    if project.quota is None and project.quota_per_round is None:
        return set()
    in_all, in_round = func.count(), func.count().filter(Claim.round_id == round_id)
    full = [
        count >= limit
        for count, limit in ((in_all, project.quota), (in_round, project.quota_per_round))
        if limit is not None
    ]
    return set(
        session.scalars(
            select(Claim.person_id)
            .where(Claim.project_id == project.id, Claim.state == "answered")
            .where(Claim.evaluation_id.is_(None))
            .group_by(Claim.person_id)
            .having(or_(*full))
        )
    )


Wants = tuple[bool, list[Any]]
"""Whether a project wants a rationale with every choice, and its further questions."""

NOTHING: Wants = (False, [])


def demands(session: Session, claims: Sequence[uuid.UUID]) -> dict[uuid.UUID, Wants]:
    """What the projects of the claims want to be told; claims of which nothing is, left out."""
    rows = session.execute(
        select(Claim.id, Project.require_rationale, Project.questions)
        .join(Project, Project.id == Claim.project_id)
        .where(Claim.id == one_of(claims))
        .where(Project.require_rationale | (func.jsonb_array_length(Project.questions) > 0))
    )
    return {claim: (rationale, asked) for claim, rationale, asked in rows}


def now(session: Session) -> dt.datetime:
    """The database's clock: the only one that claims are measured by."""
    clock: dt.datetime = session.scalars(select(func.clock_timestamp())).one()
    return clock
