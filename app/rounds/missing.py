"""Whether a batch waits for annotators who do not exist."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.orm import Session

from app.labelling import queries as labelling
from app.oracles import queries as oracles
from app.projects.models import Project
from app.rounds import queries
from app.rounds.models import Round

LOOKED_AT = 1_000
"""Open pairs that are looked at: the page asks every second."""

# Of the first open pairs those with more free slots than there are people left for them: who
# answered, holds or skipped a pair does not get it again.
_SHORT = text(
    """
    SELECT count(*), max(slots) FROM (
        SELECT p.slots, (
            SELECT count(*) FROM claims c
            WHERE c.pair_id = p.id AND c.slot < p.slots AND c.state IN ('live', 'answered')
        ) AS filled, (
            SELECT count(DISTINCT c.person_id) FROM claims c
            WHERE c.pair_id = p.id AND c.person_id = ANY(:people)
              AND c.state IN ('live', 'answered', 'skipped')
        ) AS had
        FROM (
            SELECT id, slots FROM pairs
            WHERE round_id = :round AND state = 'open' AND review = :review
            ORDER BY rank, id LIMIT :most
        ) p
    ) open_pairs
    WHERE slots - filled > :there - had
    """
).bindparams(bindparam("people", type_=ARRAY(Uuid)))


@dataclass(frozen=True)
class Missing:
    """``pairs`` (``more``: at least so many) that nobody is there for: each wants ``wanted``
    people, and ``people`` may answer. ``review``: they are disagreements, and want a reviewer."""

    pairs: int
    wanted: int
    people: int
    review: bool

    @property
    def more(self) -> bool:
        """Whether no further pairs were looked at."""
        return self.pairs >= LOOKED_AT


def missing(session: Session, project: Project, round: Round) -> list[Missing]:
    """What the round's open pairs wait for that will not come of itself, if anything."""
    oracle = oracles.attached(session, project.id)
    alone = oracle is not None and oracle.mode == "alone" and oracle.state != "stopped"
    if round.state != "labelling" or project.paused or alone:
        return []
    people = queries.eligible_people(session, project.id)
    people -= labelling.at_quota(session, project, round.id)
    found = [_short(session, round, people, review=False)]
    if project.adjudicate:
        reviewers = labelling.reviewers(session, project.id)
        found.append(_short(session, round, reviewers, review=True))
    return [one for one in found if one is not None]


def _short(
    session: Session, round: Round, people: Collection[uuid.UUID], *, review: bool
) -> Missing | None:
    pairs, wanted = session.execute(
        _SHORT,
        {
            "round": round.id,
            "review": review,
            "people": list(people),
            "there": len(people),
            "most": LOOKED_AT,
        },
    ).one()
    return Missing(pairs, wanted, len(people), review) if pairs else None
