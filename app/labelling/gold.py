"""Gold pairs as annotators meet them: mixed among the others, and told from them by nothing.

Their claims and answers take the way of every other; what would give them away is here: where
they stand among the pairs of one call, the ids that are shown, and how far a batch looks.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from app.labelling import queries
from app.labelling.models import GOLD, OWN_SLOT, Claim, Preference
from app.people.access import Actor, may, role_in
from app.projects.models import Pair, Project
from app.rounds.models import Round

_chance = random.SystemRandom()

# What the person gave back unanswered in this round comes first, as it does of other pairs; then
# what the fewest have answered. Who knows the pair that it was copied from is not asked.
_TAKE = text(
    """
    WITH free AS (
        SELECT g.pair_id
        FROM gold_pairs g
        WHERE g.project_id = :project AND g.retired_at IS NULL
          AND NOT EXISTS (
              SELECT 1 FROM withheld w JOIN pairs p ON p.prompt_id = w.prompt_id
              WHERE p.id = g.pair_id AND w.cleared_at IS NULL)
          AND NOT EXISTS (
              SELECT 1 FROM claims c
              WHERE c.pair_id IN (g.pair_id, g.source_pair_id) AND c.person_id = :person
                AND c.state IN ('live', 'answered', 'skipped'))
        ORDER BY EXISTS (
                     SELECT 1 FROM claims c
                     WHERE c.pair_id = g.pair_id AND c.person_id = :person
                       AND c.round_id = :round) DESC,
                 (SELECT count(*) FROM claims c
                  WHERE c.pair_id = g.pair_id AND c.state = 'answered'),
                 random()
        LIMIT :count
    )
    INSERT INTO claims (id, project_id, round_id, pair_id, slot, person_id, left_is, state,
                        expires_at)
    SELECT gen_random_uuid(), :project, :round, pair_id,
           1 + greatest(:own, (SELECT max(c.slot) FROM claims c
                               WHERE c.pair_id = free.pair_id
                                 AND c.state IN ('live', 'answered'))),
           :person,
           CASE WHEN get_byte(uuid_send(gen_random_uuid()), 0) < 128 THEN 'a' ELSE 'b' END,
           'live', now() + make_interval(secs => :seconds)
    FROM free
    ON CONFLICT DO NOTHING
    RETURNING id
    """
)


def mix(
    session: Session,
    project: Project,
    round: Round,
    person_id: uuid.UUID,
    claims: list[uuid.UUID],
    seconds: int,
) -> list[uuid.UUID]:
    """Put gold pairs in the place of some of the claims just made, by the project's share.

    Each claim is one by chance, so nobody can count on it; where nothing was left to claim there
    is no gold either. What makes room goes back unseen.

    Args:
        claims: ids of claims that this transaction made, the most wanted pair first.
    """
    drawn = sum(_chance.random() < project.gold_share for _ in claims)
    wanted = min(len(claims), max(drawn, _given_back(session, round, person_id)))
    if not wanted:
        return claims
    values = {
        "project": project.id,
        "round": round.id,
        "person": person_id,
        "seconds": seconds,
        "own": OWN_SLOT,
        "count": wanted,
    }
    taken = list(session.scalars(_TAKE, values))
    if not taken:
        return claims
    by_rank = [claim.id for claim, *_ in queries.claim_texts(session, claims)]
    keep, spare = by_rank[: -len(taken)], by_rank[-len(taken) :]
    session.execute(delete(Claim).where(Claim.id.in_(spare)))
    return keep + taken


def _given_back(session: Session, round: Round, person_id: uuid.UUID) -> int:
    """How many gold pairs a person had in the round and neither holds nor answered."""
    kept = func.bool_or(Claim.state.in_(("live", "answered", "skipped")))
    by_pair = (
        select(Claim.pair_id)
        .join(Pair, Pair.id == Claim.pair_id)
        .where(Claim.person_id == person_id, Claim.round_id == round.id, Pair.state == GOLD)
        .group_by(Claim.pair_id)
        .having(~kept)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(by_pair)) or 0


def shuffled_in(rows: Sequence[Any]) -> list[Any]:
    """Rows of claims in the batch's order, gold ones anywhere among them.

    Where one stands follows from its claim's id, which is random: the same at every look.
    """
    mixed = [row for row in rows if row[0].slot <= OWN_SLOT]
    for row in rows:
        if row[0].slot > OWN_SLOT:
            mixed.insert(row[0].id.int % (len(mixed) + 1), row)
    return mixed


def hides(session: Session, project: Project, actor: Actor) -> bool:
    """Whether the actor works among gold pairs and must not be able to tell them."""
    if not project.has_gold:
        return False
    return not may(actor, role_in(session, actor.person.id, project.id), "manage")


def alias(pair_id: uuid.UUID) -> uuid.UUID:
    """The name of a pair for those from whom gold is hidden: real ids tell when it was made."""
    return uuid.uuid5(pair_id, "pair")


def as_seen_by(session: Session, actor: Actor, round: Round) -> Round:
    """The round as the actor may see it.

    While a batch takes labels, who cannot tell gold from labels counts their own answers to gold
    as done, or every answer that does not move the count would be known for what it is. The copy
    belongs to no session.
    """
    project = session.get_one(Project, round.project_id)
    if round.state != "labelling" or not hides(session, project, actor):
        return round
    own = session.scalar(
        select(func.count()).where(
            Preference.round_id == round.id,
            Preference.person_id == actor.person.id,
            Preference.gold,
            Preference.deleted_at.is_(None),
            Preference.choice != "skip",
        )
    )
    if not own:
        return round
    seen = Round(**{column.key: getattr(round, column.key) for column in Round.__table__.columns})
    seen.answered = max(round.answered, min(round.answered + own, round.needed - 1))
    seen.progress_done = seen.answered
    return seen
