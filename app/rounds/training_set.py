"""The labels a round trains on, exactly as they were fixed, one probability a pair."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, select
from sqlalchemy.orm import Session, aliased

from app.labelling.models import Preference, PreferenceVersion
from app.oracles.models import Oracle
from app.oracles.queries import by_oracle
from app.projects.models import Pair, Project, Prompt
from app.quality import dawid_skene, reliability
from app.quality.reliability import Opinion, combined, weight
from app.rounds.models import Round, TrainingLabel
from app.rounds.queries import seen_by_policy, trains

MEASURES = {
    "reliability": reliability.reliabilities,
    "dawid_skene": dawid_skene.reliabilities,
}
"""How ``training.opinions`` measures authors."""


@dataclass(frozen=True)
class TrainingPair:
    """One pair to train on.

    Attributes:
        pair: with completions, token ids and stored log-probs.
        prompt_content: the prompt as it was given, text or messages.
        p: probability that completion a is the better one: the reviewer's where one decided, else
            the mean over annotators or, where ``training.opinions`` says so, each counted by its
            reliability (`app.quality.reliability`, `app.quality.dawid_skene`).
        weight: 1: how sure several opinions are is in p.
        new: no policy that this round starts from was trained on it.
        audit: drawn at random, not by the acquisition.
        pseudo: no label: p is the policy's own opinion (`app.rounds.gate`).
    """

    pair: Pair
    prompt_content: Any
    p: float
    weight: float
    new: bool
    audit: bool
    pseudo: bool = False


def probability(version: PreferenceVersion, project: Project) -> float:
    """p(a is better) that one answer stands for.

    A side is 1 or 0, unless the project says what a strength is worth
    (``training.strength``: {"1": 0.7, ...}, the probability of the chosen side) or asks for the
    oracle's own probability (``training.soft_labels``). A tie is one half.
    """
    if version.chosen is None:
        return 0.5
    chosen = 1.0
    strengths = project.training.get("strength")
    if strengths and version.strength is not None:
        chosen = float(strengths.get(str(version.strength), 1.0))
    if project.training.get("soft_labels") and version.p_left is not None:
        chosen = version.p_left if version.choice == "left" else 1.0 - version.p_left
    return chosen if version.chosen == "a" else 1.0 - chosen


def training_set(session: Session, round: Round) -> list[TrainingPair]:
    """The round's frozen labels, aggregated to one row a pair, in the order of the pairs."""
    project = session.get_one(Project, round.project_id)
    rows = _frozen(session, round, project)
    by_pair = [list(answers) for _, answers in groupby(rows, key=_pair_id)]
    weights = _weights(by_pair, project) if project.weighs_opinions else None
    return [_aggregate(answers, project, weights) for answers in by_pair]


def _weights(by_pair: list[list[Row[Any]]], project: Project) -> dict[uuid.UUID, float]:
    """Of every author, from the very labels that are trained on: the same rows, the same weights.

    A reviewer's answer was given to settle a disagreement: no comparison with those it settles.
    """
    opinions = [
        [
            Opinion(row.author, row.by_oracle, row.PreferenceVersion.chosen)
            for row in answers
            if row.PreferenceVersion.chosen is not None and not row.review
        ]
        for answers in by_pair
    ]
    measure = MEASURES[project.training["opinions"]]
    return {author: weight(r) for author, r in measure(opinions).items()}


def _pair_id(row: Row[Any]) -> uuid.UUID:
    id: uuid.UUID = row.Pair.id
    return id


def _aggregate(
    answers: list[Row[Any]], project: Project, weights: dict[uuid.UUID, float] | None
) -> TrainingPair:
    first = answers[0]
    decided = [row for row in answers if row.review]
    answers = decided or answers
    chances = [probability(row.PreferenceVersion, project) for row in answers]
    if weights is None or decided:
        p = sum(chances) / len(chances)
    else:  # who only ever said tie has no weight, and a tie adds nothing anyway
        p = combined(chances, [weights.get(row.author, 0.0) for row in answers])
    return TrainingPair(
        pair=first.Pair,
        prompt_content=first.content,
        p=p,
        weight=1.0,
        new=all(row.new for row in answers),
        audit=first.Pair.audit,
    )


def _by_oracle(preference: type[Preference]) -> ColumnElement[bool]:
    return select(Oracle.id).where(Oracle.person_id == preference.person_id).exists()


def _outranked(round: Round) -> ColumnElement[bool]:
    """Whether an attached oracle's label stands beside one of a person: what people said counts."""
    theirs, fixed = aliased(Preference), aliased(TrainingLabel)
    by_people = (
        select(theirs.id)
        .join(fixed, fixed.preference_id == theirs.id)
        .where(
            fixed.round_id == round.id,
            theirs.pair_id == Preference.pair_id,
            theirs.choice != "skip",
            ~_by_oracle(theirs),
        )
        .correlate(Preference)
        .exists()
    )
    return and_(_by_oracle(Preference), by_people)


def _frozen(session: Session, round: Round, project: Project) -> Iterable[Row[Any]]:
    query = (
        select(
            Pair,
            Prompt.content,
            PreferenceVersion,
            Preference.review,
            Preference.person_id.label("author"),
            by_oracle(Preference).label("by_oracle"),
            (~seen_by_policy(round)).label("new"),
        )
        .select_from(TrainingLabel)
        .join(Preference, Preference.id == TrainingLabel.preference_id)
        .join(
            PreferenceVersion,
            (PreferenceVersion.preference_id == TrainingLabel.preference_id)
            & (PreferenceVersion.version == TrainingLabel.version),
        )
        .join(Pair, Pair.id == Preference.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(TrainingLabel.round_id == round.id, PreferenceVersion.choice.in_(trains(project)))
        .order_by(Pair.id, Preference.id)
    )
    if not project.weighs_opinions:
        query = query.where(~_outranked(round))
    return session.execute(query).all()
