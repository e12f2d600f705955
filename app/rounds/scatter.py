"""What the acquisition chose, as a scatter; a dot of the batch opens its pair."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app import charts, formats
from app.language import _
from app.rounds import figures
from app.rounds.models import Round


def of_round(db: Session, round: Round, most: int, pairs_at: str | None) -> charts.Plot | None:
    """The pool by margin and entropy; where entropy was not needed, by rank and margin.

    Args:
        most: how many dots, the batch first.
        pairs_at: the address of the project's pairs, for who may read them; None: a dot leads to
            its row on the page.
    """
    rows = [row for row in figures.pool(db, round, most) if row.margin is not None]
    if len({row.margin for row in rows}) < 2:
        return None  # before the first training every margin is 0
    if any(row.entropy is not None for row in rows):
        known = [row for row in rows if row.entropy is not None]
        dots = [_dot(row, row.margin, row.entropy, pairs_at) for row in known]
        title, x = _("Pool by margin and entropy"), _("margin of implicit rewards")
        return charts.scatter(title, x, _("entropy, nats"), dots)
    ranked = [row for row in rows if row.rank is not None]
    dots = [_dot(row, row.rank + 1, row.margin, pairs_at) for row in ranked]
    title = _("Pool by rank and margin")
    return charts.scatter(title, _("rank"), _("margin of implicit rewards"), dots)


def _dot(row: Any, x: float, y: float, pairs_at: str | None) -> charts.Dot:
    margin = formats.significant(row.margin)
    told: str = _("margin %(margin)s", margin=margin)
    if row.entropy is not None:
        entropy = formats.significant(row.entropy)
        told = _("margin %(margin)s, entropy %(entropy)s", margin=margin, entropy=entropy)
    kind = "audit" if row.audit else "chosen" if row.chosen else ""
    place = f"{pairs_at}/{row.id}" if pairs_at else f"#pair-{row.id}"
    href = place if row.chosen else None
    return charts.Dot(x, y, told, kind, href)
