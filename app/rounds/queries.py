"""All SQL that reads rounds, their runs and their pools."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app import news
from app.labelling.models import Claim, Preference, Withheld
from app.oracles.models import Oracle
from app.people.models import Person, held_roles
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.quality.models import is_set_aside
from app.rounds.models import CLOSED, Event, Round, Run, TrainingLabel


def lock_round(session: Session, round_id: uuid.UUID) -> Round | None:
    """The round, locked to the end of the transaction, of which those who watch it are told.

    FOR NO KEY UPDATE: inserting a claim takes a key-share lock on its round (the foreign key),
    and must never wait for a label that is being stored.
    """
    news.note(session, round_id)
    return session.scalar(
        select(Round)
        .where(Round.id == round_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def lock_project(session: Session, project_id: uuid.UUID) -> Project:
    """The project, locked: rounds open one after the other."""
    return session.scalars(
        select(Project)
        .where(Project.id == project_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def open_round_of(session: Session, project_id: uuid.UUID) -> Round | None:
    """The project's round that is neither done nor cancelled, if any."""
    return session.scalar(
        select(Round).where(Round.project_id == project_id, Round.state.not_in(CLOSED))
    )


def labelling_round(session: Session, project_id: uuid.UUID) -> Round | None:
    """The project's round that takes labels now, if any."""
    return session.scalar(
        select(Round).where(Round.project_id == project_id, Round.state == "labelling")
    )


def last_number(session: Session, project_id: uuid.UUID) -> int:
    """The number of the newest round; 0 where there is none."""
    number = session.scalar(select(func.max(Round.number)).where(Round.project_id == project_id))
    return number or 0


def shuffled(
    column: ColumnElement[uuid.UUID] | InstrumentedAttribute[uuid.UUID], seed: int
) -> ColumnElement[str]:
    """A random order that is the same for the same seed, whatever the order of storage."""
    return func.md5(cast(column, Text) + str(seed))


def is_shown(prompt_id: InstrumentedAttribute[uuid.UUID]) -> ColumnElement[bool]:
    """Whether no pair of the prompt is withheld as personal data: nobody could be asked."""
    flagged = select(Withheld.pair_id).where(Withheld.prompt_id == prompt_id)
    return ~flagged.where(Withheld.cleared_at.is_(None)).exists()


def sample_prompts(session: Session, project: Project, count: int, seed: int) -> list[Prompt]:
    """Up to ``count`` train prompts, the least used first, in seeded random order."""
    return list(
        session.scalars(
            select(Prompt)
            .where(Prompt.project_id == project.id, Prompt.split == "train", ~Prompt.gold)
            .where(is_shown(Prompt.id))
            .order_by(Prompt.times_used, shuffled(Prompt.id, seed))
            .limit(count)
        )
    )


def in_pool(project_id: uuid.UUID) -> ColumnElement[bool]:
    """Imported pairs that wait to be selected by some round."""
    waiting = and_(Pair.project_id == project_id, Pair.state == "pool", Pair.round_id.is_(None))
    return and_(waiting, is_shown(Pair.prompt_id))


def sample_pool(
    session: Session, project_id: uuid.UUID, count: int | None, seed: int
) -> list[uuid.UUID]:
    """Ids of up to ``count`` waiting pairs in seeded random order, those that somebody wants
    asked before the others; all of them for None."""
    query = select(Pair.id).where(in_pool(project_id))
    query = query.order_by(Pair.wanted.desc(), shuffled(Pair.id, seed))
    return list(session.scalars(query.limit(count)))


def wanted_in_pool(session: Session, project_id: uuid.UUID) -> list[uuid.UUID]:
    """Ids of the waiting pairs that somebody wants asked, oldest first."""
    query = select(Pair.id).where(in_pool(project_id), Pair.wanted)
    return list(session.scalars(query.order_by(Pair.id)))


def pool_of(session: Session, round_id: uuid.UUID) -> Sequence[Any]:
    """Numbers and features of the round's pairs that may be selected, by id."""
    return session.execute(
        select(
            Pair.id,
            Pair.margin,
            Pair.entropy,
            Pair.perplexity,
            Pair.logp_a,
            Pair.logp_b,
            Pair.ref_logp_a,
            Pair.ref_logp_b,
            Pair.features,
            Pair.wanted,
        )
        .where(Pair.round_id == round_id, Pair.state == "pool", is_shown(Pair.prompt_id))
        .order_by(Pair.id)
    ).all()


def next_in_line(session: Session, round: Round, *, audit: bool, imported: bool) -> Pair | None:
    """The pair that takes the place of one that everybody skipped, locked."""
    order = Pair.audit_rank if audit else Pair.rank
    ranked: Pair | None = session.scalar(
        select(Pair)
        .where(Pair.round_id == round.id, Pair.state == "pool", is_shown(Pair.prompt_id))
        .order_by(order.nulls_last(), Pair.id)
        .limit(1)
        .with_for_update(key_share=True)
    )
    if ranked is not None or not imported:
        return ranked
    return session.scalar(
        select(Pair)
        .where(in_pool(round.project_id))
        .order_by(shuffled(Pair.id, round.seed))
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )


def eligible_people(session: Session, project_id: uuid.UUID) -> set[uuid.UUID]:
    """Who could still answer: active members, and whoever has ever claimed here.

    Of an oracle that labels alone: only it. One that stopped, or has slots of its own, is not
    among those that a skipped pair waits for.
    """
    oracle = session.scalar(
        select(Oracle).where(Oracle.project_id == project_id, Oracle.state != "detached")
    )
    working = oracle is not None and oracle.state != "stopped"
    if oracle is not None and working and oracle.mode == "alone":
        return {oracle.person_id}
    held = held_roles()
    members = select(held.c.person_id).where(held.c.project_id == project_id)
    claimers = select(Claim.person_id).where(Claim.project_id == project_id).distinct()
    people = set(
        session.scalars(
            select(Person.id).where(Person.active, Person.id.in_(members) | Person.id.in_(claimers))
        )
    )
    if oracle is not None and (not working or oracle.mode == "with_people"):
        people.discard(oracle.person_id)
    return people


def trains(project: Project) -> tuple[str, ...]:
    """The choices that this project trains on."""
    ties = project.training.get("ties", "drop")
    return ("left", "right", "tie") if ties == "half" else ("left", "right")


def seen_by_policy(round: Round) -> ColumnElement[bool]:
    """Whether the policy that the round starts from was trained on ``Preference``."""
    earlier = aliased(TrainingLabel)  # never the caller's own row of the same table
    return (
        select(earlier.preference_id)
        .join(Policy, Policy.round_id == earlier.round_id)
        .where(Policy.id == round.policy_in_id, earlier.preference_id == Preference.id)
        .correlate(Preference)
        .exists()
    )


def has_new_labels(session: Session, round: Round, project: Project) -> bool:
    """Whether the round's frozen labels hold a trainable one that its policy has not seen."""
    query = (
        select(Preference.id)
        .join(TrainingLabel, TrainingLabel.preference_id == Preference.id)
        .where(
            TrainingLabel.round_id == round.id,
            Preference.choice.in_(trains(project)),
            ~seen_by_policy(round),
        )
        .limit(1)
    )
    return session.scalar(query) is not None


def has_unfixed_labels(session: Session, project: Project) -> bool:
    """Whether a label stands that no round has trained on yet."""
    query = select(Preference.id).where(
        Preference.project_id == project.id,
        Preference.frozen_in.is_(None),
        Preference.deleted_at.is_(None),
        Preference.choice.in_(trains(project)),
        Preference.is_label,
        ~is_set_aside(),
    )
    return session.scalar(query.limit(1)) is not None


def runs_of(session: Session, round_id: uuid.UUID) -> list[Run]:
    """The round's runs, in the order of their making."""
    return list(session.scalars(select(Run).where(Run.round_id == round_id).order_by(Run.id)))


def unfinished_shards(session: Session, round_id: uuid.UUID) -> int:
    """Shards of the round's generation that are not stored yet."""
    count = session.scalar(
        select(func.count())
        .select_from(Run)
        .where(Run.round_id == round_id, Run.kind == "generate", Run.state != "done")
    )
    return count or 0


def events_of(
    session: Session, round_id: uuid.UUID, after: int = 0, limit: int = 500
) -> list[Event]:
    """Events of a round after the one with id ``after``."""
    return list(
        session.scalars(
            select(Event)
            .where(Event.round_id == round_id, Event.id > after)
            .order_by(Event.id)
            .limit(limit)
        )
    )


def labellers(session: Session, round_id: uuid.UUID) -> Sequence[Any]:
    """(email, answered, held, last seen) of everyone who took part in a round."""
    return session.execute(
        select(
            Person.email,
            func.count().filter(Claim.state == "answered"),
            func.count().filter(Claim.state == "live"),
            func.max(Claim.created_at),
        )
        .join(Person, Person.id == Claim.person_id)
        .where(Claim.round_id == round_id)
        .group_by(Person.email)
        .order_by(text("2 DESC"))
    ).all()
