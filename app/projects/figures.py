"""Figures of projects for the pages: how much there is, and where each one stands."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session, aliased

from app.labelling.models import Preference
from app.people.access import MANAGERS
from app.people.models import held_roles
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round


@dataclass(frozen=True)
class Standing:
    """Where a project stands: its newest round, its prompts and labels."""

    project: Project
    round: Round | None
    prompts: int
    labels: int


@dataclass(frozen=True)
class Figures:
    """How much a project holds; ``pool`` counts imported pairs that no round has taken yet."""

    train: int
    eval: int
    pool: int
    labels: int
    skips: int


def _counted(viewer: uuid.UUID | None) -> ColumnElement[bool]:
    """Labels, and the viewer's own answers to gold pairs where they must not tell them apart."""
    if viewer is None:
        return and_(Preference.is_label)
    held = held_roles()
    manages = (
        select(held.c.person_id)
        .where(
            held.c.project_id == Preference.project_id,
            held.c.person_id == viewer,
            held.c.role.in_(MANAGERS),
        )
        .exists()
    )
    own_gold = Preference.gold & (Preference.person_id == viewer) & ~manages
    return Preference.is_label | own_gold


def standings(
    session: Session, projects: Sequence[Project], viewer: uuid.UUID | None = None
) -> list[Standing]:
    """Where each of the projects stands, in their order, as ``viewer`` may see it (None: all)."""
    ids = [project.id for project in projects]
    other = aliased(Round)
    last = select(func.max(other.number)).where(other.project_id == Round.project_id)
    newest = select(Round).where(
        Round.project_id.in_(ids), Round.number == last.correlate(Round).scalar_subquery()
    )
    rounds = {round.project_id: round for round in session.scalars(newest)}
    prompts = select(Prompt.project_id, func.count()).where(
        Prompt.project_id.in_(ids), ~Prompt.gold
    )
    prompt_counts = dict(session.execute(prompts.group_by(Prompt.project_id)).all())
    labels = select(Preference.project_id, func.count()).where(
        Preference.project_id.in_(ids),
        Preference.deleted_at.is_(None),
        Preference.choice != "skip",
        _counted(viewer),
    )
    label_counts = dict(session.execute(labels.group_by(Preference.project_id)).all())
    return [
        Standing(p, rounds.get(p.id), prompt_counts.get(p.id, 0), label_counts.get(p.id, 0))
        for p in projects
    ]


def figures(session: Session, project_id: uuid.UUID, viewer: uuid.UUID | None = None) -> Figures:
    """How much the project holds, as ``viewer`` may see it (None: all)."""
    splits = select(Prompt.split, func.count()).where(Prompt.project_id == project_id, ~Prompt.gold)
    by_split = dict(session.execute(splits.group_by(Prompt.split)).all())
    pool = select(func.count()).where(
        Pair.project_id == project_id, Pair.state == "pool", Pair.round_id.is_(None)
    )
    skipped = func.count().filter(Preference.choice == "skip")
    said = select(func.count() - skipped, skipped).where(
        Preference.project_id == project_id, Preference.deleted_at.is_(None), _counted(viewer)
    )
    labels, skips = session.execute(said).one()
    return Figures(
        train=by_split.get("train", 0),
        eval=by_split.get("eval", 0),
        pool=session.scalar(pool) or 0,
        labels=labels,
        skips=skips,
    )


def newest_rounds(
    session: Session, project_id: uuid.UUID, limit: int, before: int | None = None
) -> list[Round]:
    """Rounds of a project, the newest first, below the number ``before`` where given."""
    query = select(Round).where(Round.project_id == project_id)
    if before is not None:
        query = query.where(Round.number < before)
    return list(session.scalars(query.order_by(Round.number.desc()).limit(limit)))


def policy_numbers(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, int]:
    """The numbers of a project's policies, by id."""
    query = select(Policy.id, Policy.number).where(Policy.project_id == project_id)
    return dict(session.execute(query).all())


def as_seen_by(
    session: Session, project_id: uuid.UUID, held: Figures, viewer: uuid.UUID | None
) -> Figures:
    """The figures with the viewer's own answers to gold, where they must not tell them apart."""
    if viewer is None:
        return held
    skipped = func.count().filter(Preference.choice == "skip")
    own = select(func.count() - skipped, skipped).where(
        Preference.project_id == project_id,
        Preference.person_id == viewer,
        Preference.gold,
        Preference.deleted_at.is_(None),
        _counted(viewer),
    )
    labels, skips = session.execute(own).one()
    return replace(held, labels=held.labels + labels, skips=held.skips + skips)
