"""What annotators may see of their own work, where who runs the project allows it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from app.errors import Conflict
from app.labelling.models import Preference
from app.language import _
from app.projects.models import Project
from app.quality.queries import ENOUGH, Share

SHOWN_TO_NOBODY = _("Who runs this project shows annotators no figures of their own.")


@dataclass(frozen=True)
class Own:
    """A person's labels in a project.

    ``seconds`` is the median time on a pair, ``per_hour`` how many labels an hour of such time
    gives; both leave idle time out. ``agrees`` counts comparisons with others' answers to the same
    pairs; there is none of few, which would tell what another said.
    """

    labels: int
    skips: int
    seconds: float | None
    per_hour: float | None
    agrees: Share | None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        agrees = None if self.agrees is None else self.agrees.view()
        pace = {"seconds": self.seconds, "per_hour": self.per_hour}
        return {"labels": self.labels, "skips": self.skips, **pace, "agrees": agrees}


_stands = and_(Preference.deleted_at.is_(None), ~Preference.recorded)
# Gold pairs are among them, as among all that a person is shown: to leave them out would tell
# how many there were


def figures(session: Session, project: Project, person_id: uuid.UUID) -> Own:
    """A person's own figures.

    Raises:
        Conflict: the project shows them to nobody.
    """
    if not project.own_figures:
        raise Conflict(SHOWN_TO_NOBODY)
    mine = and_(Preference.project_id == project.id, Preference.person_id == person_id, _stands)
    counted = Preference.choice != "skip"
    labels, skips, median, total = session.execute(
        select(
            func.count().filter(counted),
            func.count().filter(~counted),
            func.percentile_cont(0.5).within_group(Preference.seconds).filter(counted),
            func.sum(Preference.seconds).filter(counted),
        ).where(mine)
    ).one()
    agrees = _agrees(session, mine)
    return Own(
        labels,
        skips,
        median,
        labels * 3600 / total if total else None,
        agrees if agrees.total >= ENOUGH else None,
    )


def _agrees(session: Session, mine: Any) -> Share:
    other = aliased(Preference)
    same = func.coalesce(other.chosen, other.choice) == func.coalesce(
        Preference.chosen, Preference.choice
    )
    theirs = and_(
        other.pair_id == Preference.pair_id,
        other.person_id != Preference.person_id,
        other.deleted_at.is_(None),
        ~other.recorded,
        other.choice != "skip",
    )
    hits, total = session.execute(
        select(func.count().filter(same), func.count())
        .select_from(Preference)
        .join(other, theirs)
        .where(mine, Preference.choice != "skip")
    ).one()
    return Share(hits, total)
