"""SQL of many answers at once: one statement a step, however many they are.

Lists go as one array or one JSON document: a statement with a parameter a value takes longer to
read than to run.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, func, select, text
from sqlalchemy.orm import Session

from app.labelling.models import GOLD, Claim, Preference
from app.labelling.queries import one_of
from app.projects.models import Pair
from app.rounds.models import Round

Held = Row[uuid.UUID, uuid.UUID, str, dt.datetime, dt.datetime]
"""A claim's id, pair and ``left_is``, when it was made, and what time it is ``now``."""

# The preference, its history, its slot and its pair: all of them or, where a constraint objects,
# nothing. The caller holds the locks.
_STORE = text(
    """
    WITH said AS (
        SELECT * FROM jsonb_to_recordset(CAST(:said AS jsonb)) AS s(
            id uuid, claim uuid, choice text, chosen text, strength integer, rationale text,
            p_left double precision, judge jsonb, flags text[], reason text, answers jsonb,
            seconds double precision)
    ), stored AS (
        INSERT INTO preferences (
            id, project_id, round_id, pair_id, claim_id, person_id, choice, chosen, left_is,
            strength, rationale, p_left, judge, flags, reason, answers, seconds, version, late,
            review, updated_at)
        SELECT s.id, c.project_id, :round, c.pair_id, c.id, c.person_id, s.choice, s.chosen,
               c.left_is, s.strength, s.rationale, s.p_left, s.judge, s.flags, s.reason, s.answers,
               s.seconds,
               1, false, false, :now
        FROM said s JOIN claims c ON c.id = s.claim
        RETURNING *
    ), history AS (
        INSERT INTO preference_versions (
            preference_id, version, choice, chosen, strength, rationale, p_left, judge, flags,
            reason, answers)
        SELECT id, version, choice, chosen, strength, rationale, p_left, judge, flags, reason,
               answers
        FROM stored
    ), slots AS (
        UPDATE claims SET state = 'answered' FROM stored WHERE claims.id = stored.claim_id
    ), filled AS (
        UPDATE pairs SET state = 'answered' FROM stored WHERE pairs.id = stored.pair_id
    )
    SELECT id, created_at FROM stored
    """
)


def places(
    session: Session, claims: Sequence[uuid.UUID], person_id: uuid.UUID
) -> dict[uuid.UUID, tuple[uuid.UUID, uuid.UUID | None, uuid.UUID]]:
    """Project, round (or evaluation) and pair of the person's claims; as locks are taken, see
    ``slots.lock``."""
    owner = func.coalesce(Pair.round_id, Pair.evaluation_id)
    round_id = case((Pair.state == GOLD, Claim.round_id), else_=owner)
    rows = session.execute(
        select(Claim.id, Claim.project_id, round_id, Pair.id)
        .join(Pair, Pair.id == Claim.pair_id)
        .where(Claim.id == one_of(claims), Claim.person_id == person_id)
    )
    return {claim: (project, round, pair) for claim, project, round, pair in rows}


def plain_claims(
    session: Session, round: Round, ids: Sequence[uuid.UUID], person_id: uuid.UUID, most: int
) -> Sequence[Held]:
    """The person's live claims among ``ids`` on open pairs of one slot, pairs and claims locked."""
    return session.execute(
        select(
            Claim.id,
            Claim.pair_id,
            Claim.left_is,
            Claim.created_at,
            func.clock_timestamp().label("now"),
        )
        .join(Pair, Pair.id == Claim.pair_id)
        .where(
            Claim.id == one_of(ids),
            Claim.person_id == person_id,
            Claim.state == "live",
            Claim.slot == 0,
            Pair.round_id == round.id,
            Pair.state == "open",
            Pair.slots == 1,
        )
        .order_by(Pair.id)
        .limit(most)
        .with_for_update(of=(Pair, Claim))
    ).all()


def store(session: Session, round: Round, said: Sequence[Preference]) -> None:
    """Store first answers to claims that hold the one slot of their pairs, and fill these.

    They are read by the caller alone and belong to no session; each learns its ``created_at``.

    Raises:
        IntegrityError: one of them meets a constraint; nothing was stored.
    """
    document = json.dumps([_row(preference) for preference in said])
    values = {"said": document, "round": round.id, "now": said[0].updated_at}
    rows = session.execute(_STORE, values).all()
    made: dict[uuid.UUID, dt.datetime] = {row.id: row.created_at for row in rows}
    for preference in said:
        preference.created_at = made[preference.id]


def _row(preference: Preference) -> dict[str, Any]:
    return {
        "id": str(preference.id),
        "claim": str(preference.claim_id),
        "choice": preference.choice,
        "chosen": preference.chosen,
        "strength": preference.strength,
        "rationale": preference.rationale,
        "p_left": preference.p_left,
        "judge": preference.judge,
        "flags": preference.flags,
        "reason": preference.reason,
        "answers": preference.answers,
        "seconds": preference.seconds,
    }
