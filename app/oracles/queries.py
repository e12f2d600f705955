"""All SQL of attached oracles."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.labelling.models import OWN_SLOT, Claim, Preference
from app.oracles.models import ON_ACCELERATOR, Oracle
from app.people.models import Membership
from app.projects.models import Pair
from app.rounds.models import Event, Round

# Oracles with something to do whose lease nobody holds: a pair of the open batch that they have
# not looked at yet (in a slot of their own, or in a free one), or a claim held since a crash.
_WITH_WORK = """
    SELECT o.id, o.project_id, o.kind FROM oracles o
    JOIN rounds r ON r.project_id = o.project_id AND r.state = 'labelling'
    JOIN projects j ON j.id = o.project_id AND NOT j.archived AND NOT j.paused
    WHERE o.state IN ('active', 'waiting')
      AND (o.next_try_at IS NULL OR o.next_try_at <= clock_timestamp())
      AND (o.lease_expires_at IS NULL OR o.lease_expires_at < clock_timestamp())
      AND (o.mode <> 'people_first' OR EXISTS (
        SELECT 1 FROM events e WHERE e.round_id = r.id AND e.kind = 'round.labelling'
          AND e.created_at <= clock_timestamp() - make_interval(
                secs => (o.settings ->> 'fill_after')::float)))
      AND EXISTS (
        SELECT 1 FROM pairs p WHERE p.round_id = r.id AND NOT p.review
          AND (p.state = 'open' OR (o.mode = 'with_people' AND p.state = 'answered'))
          AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.pair_id = p.id
                AND c.person_id = o.person_id AND c.state IN ('answered', 'skipped'))
          AND (o.mode = 'with_people' OR p.slots > (
                SELECT count(*) FROM claims c WHERE c.pair_id = p.id AND c.slot < :own
                  AND c.person_id <> o.person_id AND (c.state = 'answered'
                    OR (c.state = 'live' AND c.expires_at > clock_timestamp())))))
"""
# The same of open evaluations that oracles are asked in; who comes after people waits for a batch.
_WITH_EVALUATION = """
    SELECT o.id, o.project_id, o.kind FROM oracles o
    JOIN projects j ON j.id = o.project_id AND NOT j.archived AND NOT j.paused AND j.has_evaluation
    WHERE o.state IN ('active', 'waiting') AND o.mode <> 'people_first'
      AND (o.next_try_at IS NULL OR o.next_try_at <= clock_timestamp())
      AND (o.lease_expires_at IS NULL OR o.lease_expires_at < clock_timestamp())
      AND EXISTS (
        SELECT 1 FROM evaluations e JOIN pairs p ON p.evaluation_id = e.id
        WHERE e.project_id = o.project_id AND e.state = 'open'
          AND e.answered_by IN ('oracle', 'anybody')
          AND NOT EXISTS (SELECT 1 FROM withheld w WHERE w.prompt_id = p.prompt_id
                AND w.cleared_at IS NULL)
          AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.pair_id = p.id
                AND c.person_id = o.person_id AND c.state IN ('answered', 'skipped'))
          AND p.slots > (
                SELECT count(*) FROM claims c WHERE c.pair_id = p.id
                  AND c.person_id <> o.person_id AND (c.state = 'answered'
                    OR (c.state = 'live' AND c.expires_at > clock_timestamp()))))
"""
_ALL_WITH_WORK = text(f"{_WITH_WORK} UNION {_WITH_EVALUATION}")
_ONE_WITH_WORK = text(
    f"{_WITH_WORK} AND o.id = :oracle UNION {_WITH_EVALUATION} AND o.id = :oracle"
)


def attached(session: Session, project_id: uuid.UUID) -> Oracle | None:
    """The oracle attached to a project, if any."""
    return session.scalar(
        select(Oracle).where(Oracle.project_id == project_id, Oracle.state != "detached")
    )


def by_oracle(preference: type[Preference]) -> ColumnElement[bool]:
    """Whether a preference is an oracle's: attached now or once, or a member of that role."""
    attached_once = select(Oracle.id).where(Oracle.person_id == preference.person_id).exists()
    member = (
        select(Membership.person_id)
        .where(
            Membership.project_id == preference.project_id,
            Membership.person_id == preference.person_id,
            Membership.role == "oracle",
        )
        .exists()
    )
    return or_(attached_once, member)


def with_work(session: Session) -> list[tuple[uuid.UUID, uuid.UUID, str]]:
    """(id, project, kind) of every oracle that could label something now and that nobody runs."""
    return [(i, p, k) for i, p, k in session.execute(_ALL_WITH_WORK, {"own": OWN_SLOT})]


def has_work(session: Session, oracle_id: uuid.UUID) -> bool:
    """Whether one oracle could label something now."""
    values = {"own": OWN_SLOT, "oracle": oracle_id}
    return session.execute(_ONE_WITH_WORK, values).first() is not None


def count_of(session: Session, project_id: uuid.UUID) -> int:
    """How many oracles a project ever had."""
    query = select(func.count()).select_from(Oracle).where(Oracle.project_id == project_id)
    return session.scalar(query) or 0


def _seconds(seconds: float) -> ColumnElement[object]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _free() -> ColumnElement[bool]:
    return or_(Oracle.lease_expires_at.is_(None), Oracle.lease_expires_at < func.clock_timestamp())


def take(
    session: Session, project_id: uuid.UUID, owner: str, lease_seconds: float
) -> Oracle | None:
    """Hold the project's oracle under a new fencing number; None where it is held or resting."""
    taken = session.scalar(
        update(Oracle)
        .where(
            Oracle.project_id == project_id,
            Oracle.state.in_(("active", "waiting")),
            or_(Oracle.next_try_at.is_(None), Oracle.next_try_at <= func.clock_timestamp()),
            _free(),
        )
        .values(
            attempt=Oracle.attempt + 1,
            lease_owner=owner,
            lease_expires_at=func.clock_timestamp() + _seconds(lease_seconds),
        )
        .returning(Oracle.id)
    )
    return session.get_one(Oracle, taken, populate_existing=True) if taken else None


def renew(session: Session, oracle_id: uuid.UUID, attempt: int, lease_seconds: float) -> bool:
    """Lengthen the hold; False where it is lost or given back, or the oracle was stopped.

    A heartbeat that comes after the work has ended must not take the oracle again: nobody would
    work for it until that lease is over.
    """
    renewed = session.scalar(
        update(Oracle)
        .where(
            Oracle.id == oracle_id,
            Oracle.attempt == attempt,
            Oracle.lease_owner.is_not(None),
            Oracle.state.in_(("active", "waiting")),
        )
        .values(lease_expires_at=func.clock_timestamp() + _seconds(lease_seconds))
        .returning(Oracle.id)
    )
    return renewed is not None


def wanted(session: Session, oracle_id: uuid.UUID, attempt: int) -> bool:
    """Whether the hold stands; locks nothing."""
    found = session.scalar(
        select(Oracle.id).where(
            Oracle.id == oracle_id,
            Oracle.attempt == attempt,
            Oracle.state.in_(("active", "waiting")),
        )
    )
    return found is not None


def held(session: Session, oracle_id: uuid.UUID, attempt: int) -> Oracle | None:
    """The oracle, locked, while the hold stands. Order of locks: oracle, round, pair, claims."""
    return session.scalar(
        select(Oracle)
        .where(
            Oracle.id == oracle_id,
            Oracle.attempt == attempt,
            Oracle.state.in_(("active", "waiting")),
        )
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def locked(session: Session, project_id: uuid.UUID) -> Oracle | None:
    """The attached oracle, locked."""
    return session.scalar(
        select(Oracle)
        .where(Oracle.project_id == project_id, Oracle.state != "detached")
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def turn_of(session: Session, oracle: Oracle) -> dt.datetime | None:
    """When an oracle that comes after people may fill what is left of the open batch, if any."""
    began = session.scalar(
        select(func.max(Event.created_at))
        .join(Round, Round.id == Event.round_id)
        .where(
            Round.project_id == oracle.project_id,
            Round.state == "labelling",
            Event.kind == "round.labelling",
        )
    )
    if began is None:
        return None
    return began + dt.timedelta(seconds=float(oracle.settings["fill_after"]))


def has_its_turn(session: Session, oracle: Oracle) -> bool:
    """Whether it may label now: with people first, only after its time."""
    if oracle.mode != "people_first":
        return True
    turn = turn_of(session, oracle)
    return turn is not None and bool(session.scalar(select(func.clock_timestamp() >= turn)))


def of_audit_share(session: Session, claims: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the claims whose pair was drawn at random, to audit the others."""
    query = select(Claim.id).join(Pair, Pair.id == Claim.pair_id)
    return set(session.scalars(query.where(Claim.id.in_(claims), Pair.audit)))


def free_leases(session: Session, owner_prefix: str) -> list[Oracle]:
    """Give back the holds of a process that is known to be dead."""
    return list(
        session.scalars(
            update(Oracle)
            .where(Oracle.lease_owner.startswith(owner_prefix, autoescape=True))
            .values(lease_owner=None, lease_expires_at=None)
            .returning(Oracle)
        )
    )


def on_accelerator(session: Session) -> list[uuid.UUID]:
    """Projects whose oracle needs the accelerator and has something to do."""
    return [project for _, project, kind in with_work(session) if kind in ON_ACCELERATOR]
