"""How far an oracle can be trusted: its lean to a side, its word twice, against people's."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.labelling.models import Preference
from app.oracles.models import LEFT_TO_PEOPLE, Oracle

NEWEST = 10_000
"""Labels that are looked at."""

Z95 = 1.959963984540054
SIDES = {"A": 1.0, "B": 0.0, "tie": 0.5}


def share(hits: float, n: int) -> dict[str, float | int | None]:
    """hits / n with Wilson's 95 % interval; nulls where n = 0."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    p = hits / n
    middle = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    return {"value": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "n": n}


def figures(session: Session, oracle: Oracle) -> dict[str, Any]:
    """Figures over the oracle's newest labels.

    Returns:
        labels: how many. abstained: share of skips. audited: how many it left to people because
            they are of the audit share; not among the skips.
        left: share of decided labels for the side shown left; a judge that goes by the text is
            near ½, since sides are drawn at random.
        same_in_both_orders: of the pairs asked in both orders with both replies read, the share
            whose verdicts favour the same text (self-consistency); what is missing to 1 is the
            judge's lean to a place.
        with_people: share of pairs on which the oracle and people chose the same text, those
            of the audit share included.
        brier: mean squared distance of its p from what people chose, 0 the best, ¼ a coin's.
        calibration: by how sure it said it is, how often people agreed; here and in ``brier``
            also where it was too unsure to label.
    """
    labels = _labels(session, oracle.person_id)
    decided = [label for label in labels if label.chosen is not None]
    opinions = [opinion for label in labels if (opinion := _opinion(label)) is not None]
    theirs = _by_people(session, [opinion.pair_id for opinion in opinions])
    compared = [(one, theirs[one.pair_id]) for one in opinions if one.pair_id in theirs]
    sided = [(one, said) for one, said in compared if one.stands]
    agreed = sum(_agreement(one, said) for one, said in sided)
    orders = [same for label in labels if (same := _same(label.judge)) is not None]
    return {
        "labels": len(labels),
        "abstained": share(sum(_abstained(label) for label in labels), len(labels)),
        "audited": sum(_audited(label) for label in labels),
        "left": share(sum(label.choice == "left" for label in decided), len(decided)),
        "same_in_both_orders": share(sum(orders), len(orders)),
        "with_people": share(agreed, len(sided)),
        **_calibration(compared),
    }


@dataclass(frozen=True)
class Opinion:
    """What an oracle thinks of a pair: the text, and how sure it says it is.

    ``stands``: as a label, or it would have been one outside the audit share.
    """

    pair_id: uuid.UUID
    chosen: str
    sure: float | None
    stands: bool


def _opinion(label: Preference) -> Opinion | None:
    p = label.p_left if label.chosen is not None else (label.judge or {}).get("p")
    if label.chosen is not None:
        sure = None if p is None else p if label.choice == "left" else 1.0 - p
        return Opinion(label.pair_id, label.chosen, sure, stands=True)
    if label.choice != "skip" or not isinstance(p, float) or p == 0.5:
        return None
    left, right = ("a", "b") if label.left_is == "a" else ("b", "a")
    return Opinion(label.pair_id, left if p > 0.5 else right, max(p, 1 - p), _audited(label))


def _audited(label: Preference) -> bool:
    return label.choice == "skip" and (label.judge or {}).get("reason") == LEFT_TO_PEOPLE


def _abstained(label: Preference) -> bool:
    return label.choice == "skip" and not _audited(label)


def _labels(session: Session, person_id: uuid.UUID) -> Sequence[Preference]:
    return session.scalars(
        select(Preference)
        .where(
            Preference.person_id == person_id, Preference.deleted_at.is_(None), Preference.is_label
        )
        .order_by(Preference.id.desc())
        .limit(NEWEST)
    ).all()


def _by_people(session: Session, pairs: list[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """What people chose, by pair."""
    oracles = aliased(Oracle)
    rows = session.execute(
        select(Preference.pair_id, Preference.chosen).where(
            Preference.pair_id.in_(pairs),
            Preference.deleted_at.is_(None),
            Preference.chosen.is_not(None),
            ~select(oracles.id).where(oracles.person_id == Preference.person_id).exists(),
        )
    )
    found: dict[uuid.UUID, list[str]] = {}
    for pair_id, chosen in rows:
        found.setdefault(pair_id, []).append(str(chosen))
    return found


def _agreement(opinion: Opinion, said: list[str]) -> float:
    """Share of the people who chose as the oracle did."""
    return sum(chosen == opinion.chosen for chosen in said) / len(said)


def _same(judge: dict[str, Any] | None) -> float | None:
    """Whether both orders favour the same text; None where there are not two verdicts."""
    replies = (judge or {}).get("replies")
    if not isinstance(replies, list):
        return None
    shown = _mean(r["verdict"] for r in replies if r.get("order") == "ab")
    swapped = _mean(r["verdict"] for r in replies if r.get("order") == "ba")
    if shown is None or swapped is None:
        return None
    return float(_sign(shown) == -_sign(swapped))


def _mean(verdicts: Iterable[str | None]) -> float | None:
    chances = [SIDES[verdict] for verdict in verdicts if verdict in SIDES]
    return sum(chances) / len(chances) if chances else None


def _sign(p: float) -> int:
    return (p > 0.5) - (p < 0.5)


def _calibration(compared: list[tuple[Opinion, list[str]]]) -> dict[str, Any]:
    bins: dict[int, list[tuple[float, float]]] = {}
    squares: list[float] = []
    for opinion, said in compared:
        if opinion.sure is None:
            continue
        sure, right = opinion.sure, _agreement(opinion, said)
        squares.append((sure - 1) ** 2 * right + sure**2 * (1 - right))
        bins.setdefault(min(9, int(sure * 10)), []).append((sure, right))
    return {
        "brier": sum(squares) / len(squares) if squares else None,
        "calibration": [
            {
                "sure": sum(sure for sure, _ in rows) / len(rows),
                "agreed": sum(right for _, right in rows) / len(rows),
                "n": len(rows),
            }
            for _, rows in sorted(bins.items())
        ],
    }
