"""Pairs that a policy is so sure about that it labels them itself, for one training."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from activedpo.acquisition.combine import confidence_gate
from app.labelling.models import Preference
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round
from app.rounds.training_set import TrainingPair


def pseudo_labelled(session: Session, round: Round, project: Project) -> list[TrainingPair]:
    """What ``training.gate`` adds to the round's labels (arXiv 2402.09401), by pair.

    Pairs of the round's pool that nobody answered (imported ones have gone back by then to wait
    for another round); none where the round began at π_0, which has no margin to be sure by.
    Nothing stores them: they are the policy's own opinion.
    """
    policy = session.get(Policy, round.policy_in_id) if round.policy_in_id else None
    if project.gate is None or policy is None or policy.kind == "base":
        return []
    rows = session.execute(
        select(Pair, Prompt.content)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(
            Pair.project_id == project.id,
            Pair.round_id == round.id if project.source == "generated" else Pair.round_id.is_(None),
            Pair.state.in_(("pool", "unused")),
            Pair.margin.is_not(None),
            Pair.scored_by == policy.id,
            ~select(Preference.id).where(Preference.pair_id == Pair.id).exists(),
        )
        .order_by(Pair.id)
    ).all()
    margins = np.array([row.Pair.margin for row in rows], dtype=np.float64)
    return [
        _opinion(rows[index].Pair, rows[index].content, float(p))
        for index, p in zip(*confidence_gate(margins, project.gate), strict=True)
    ]


def _opinion(pair: Pair, content: Any, p: float) -> TrainingPair:
    return TrainingPair(pair, content, p, weight=1.0, new=False, audit=False, pseudo=True)
