"""Features of a shard's pairs, and of the pairs labelled so far, for strategies that read them."""

from __future__ import annotations

import dataclasses
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import update
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo.types import Pair
from app.projects import models as tables
from app.rounds.features import pack
from worker.loaded import as_prompt
from worker.work import GenerateWork


def of_pool(
    policy: ad.Policy, pairs: Sequence[Pair], kind: str, hidden: np.ndarray | None
) -> Sequence[str | None]:
    """Features of each pair in base 64; None for each where the acquisition reads none."""
    from activedpo.features import pair_features

    if not kind or not pairs:
        return [None] * len(pairs)
    return [_text(one) for one in pair_features(policy, pairs, kind, hidden=hidden)]


def of_labelled(policy: ad.Policy, work: GenerateWork) -> dict[str, str]:
    """Features of the labelled pairs by id, as this policy sees them: those of an earlier policy
    would not be comparable with the pool's.
    """
    pairs = [
        dataclasses.replace(pair, prompt=as_prompt(policy, pair.prompt, work.setting))
        for pair in work.labelled
    ]
    found = of_pool(policy, pairs, work.features, None)
    return {str(pair.id): text for pair, text in zip(pairs, found, strict=True) if text is not None}


def keep(session: Session, labelled: Mapping[str, str]) -> None:
    """Store the features of labelled pairs over their earlier ones."""
    rows = [{"id": UUID(id), "features": b64decode(text)} for id, text in labelled.items()]
    if rows:
        session.execute(update(tables.Pair), rows)


def _text(features: np.ndarray) -> str:
    return b64encode(pack(features)).decode("ascii")
