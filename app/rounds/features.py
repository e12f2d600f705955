"""Features of pairs in the database, and of what was labelled before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from activedpo.acquisition import Past
from app.labelling.queries import one_of
from app.policies.models import Policy
from app.projects.models import Pair
from app.rounds.models import Round
from app.rounds.training_set import TrainingPair, training_set

_STORED = np.dtype("<f4")


def pack(features: NDArray[np.floating]) -> bytes:
    """Features of one pair, (2, d), as the column holds them."""
    return features.astype(_STORED).tobytes()


def unpack(rows: Sequence[bytes | None]) -> NDArray[np.float64] | None:
    """(n, 2, d) of n pairs; None where one of them has no features, or a width of its own."""
    found = [row for row in rows if row is not None]
    if not found or len(found) < len(rows) or len({len(row) for row in found}) > 1:
        return None
    flat = np.frombuffer(b"".join(found), dtype=_STORED).astype(np.float64)
    return flat.reshape(len(rows), 2, -1)


def labelled(session: Session, policy_in: Policy | None) -> list[TrainingPair]:
    """The labels that a round's policy was trained on: what a strategy may learn from."""
    if policy_in is None or policy_in.round_id is None:
        return []
    return training_set(session, session.get_one(Round, policy_in.round_id))


def past_of(session: Session, policy_in: Policy | None, width: int) -> Past | None:
    """Features and labels of what was bought, where features of that width were measured."""
    pairs = labelled(session, policy_in)
    ids = [one.pair.id for one in pairs]
    found = session.execute(select(Pair.id, Pair.features).where(Pair.id == one_of(ids)))
    rows = {row.id: row.features for row in found}
    measured = [one for one in pairs if len(rows[one.pair.id] or b"") == 2 * width * 4]
    features = unpack([rows[one.pair.id] for one in measured])
    if features is None:
        return None
    return Past(features, np.array([one.p for one in measured], dtype=np.float64))
