"""Pairs of a pool that are not worth asking about, by the project's settings."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from activedpo import types
from activedpo.acquisition.combine import keep_distinct, keep_fluent
from app.projects.models import Pair, Project

_MOST = 1_000
"""Ids in one query."""


def keep(session: Session, project: Project, pool: Sequence[Any]) -> NDArray[np.bool_] | None:
    """(n,) False where ``generation.prune`` or ``near_duplicates`` leaves a pair for the end.

    None where the project sets neither. ``pool``: rows of :func:`app.rounds.queries.pool_of`.
    """
    quantiles = project.generation.get("prune")
    kept = distinct(session, project, [row.id for row in pool])
    if quantiles is None or not pool:
        return kept
    perplexity = np.array([row.perplexity for row in pool], dtype=np.float64)  # None becomes NaN
    fluent = keep_fluent(np.log(perplexity), *quantiles)
    return fluent if kept is None else fluent & kept


def distinct(
    session: Session, project: Project, ids: Sequence[uuid.UUID]
) -> NDArray[np.bool_] | None:
    """(n,) False where completions are too alike, or were met in an earlier pair of ``ids``."""
    threshold = project.generation.get("near_duplicates")
    if threshold is None:
        return None
    return keep_distinct(_texts(session, ids), float(threshold))


def _texts(session: Session, ids: Sequence[uuid.UUID]) -> list[types.Pair]:
    found: dict[uuid.UUID, types.Pair] = {}
    for start in range(0, len(ids), _MOST):
        part = ids[start : start + _MOST]
        rows = session.execute(
            select(Pair.id, Pair.completion_a, Pair.completion_b).where(Pair.id.in_(part))
        )
        found |= {id: types.Pair("", a, b) for id, a, b in rows}
    return [found[id] for id in ids]
