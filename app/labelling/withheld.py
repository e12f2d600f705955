"""Pairs that somebody flagged as personal data: nobody else is shown their text until a manager
of the project clears them.

Such a pair is handed out no more, to people or oracles, nor is any other pair of the same prompt.
In its batch it counts with the answers that it has; with none it is replaced, as one that everybody
skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.labelling.models import Claim, Withheld
from app.language import _
from app.people.access import Actor, may, role_in
from app.projects.models import Pair, Prompt
from app.rounds.events import record
from app.rounds.models import Round

PERSONAL = "personal_data"
HIDDEN = _("(withheld: flagged as personal data)")
"""What others read in place of the text."""


def withhold(session: Session, pair: Pair, person_id: uuid.UUID) -> None:
    """Show the text of the pair and of its prompt to nobody else from now on; others who hold the
    pair lose their claims. The prompt's other pairs are left to the caller: :func:`siblings`.

    The caller holds the pair's lock.
    """
    values = {"flagged_by": person_id, "cleared_at": None, "cleared_by": None}
    row = insert(Withheld).values(
        pair_id=pair.id, prompt_id=pair.prompt_id, project_id=pair.project_id, **values
    )
    session.execute(row.on_conflict_do_update(index_elements=["pair_id"], set_=values))
    session.execute(
        update(Claim)
        .where(Claim.pair_id == pair.id, Claim.state == "live", Claim.person_id != person_id)
        .values(state="released")
    )
    _tell(session, "pair.withheld", pair, person_id)


def take_back(session: Session, pair: Pair, person_id: uuid.UUID) -> None:
    """The one who flagged it was mistaken; what somebody else flagged stays withheld."""
    mine = (Withheld.pair_id == pair.id) & (Withheld.flagged_by == person_id)
    gone = session.execute(
        delete(Withheld).where(mine, Withheld.cleared_at.is_(None)).returning(Withheld.pair_id)
    ).all()
    if gone:
        _show_siblings(session, pair)
        _tell(session, "pair.flag_taken_back", pair, person_id)


def is_withheld(session: Session, pair_id: uuid.UUID) -> bool:
    """Whether the pair's text is withheld now: it, or another pair of its prompt, is flagged."""
    flagged = (
        select(Withheld.pair_id)
        .join(Pair, Pair.prompt_id == Withheld.prompt_id)
        .where(Pair.id == pair_id, Withheld.cleared_at.is_(None))
    )
    return session.scalar(flagged.limit(1)) is not None


def siblings(session: Session, pair: Pair) -> Sequence[tuple[uuid.UUID, uuid.UUID]]:
    """(round, pair) of the prompt's other pairs that wait for answers, in the order of locks."""
    others = select(Pair.round_id, Pair.id).where(
        Pair.prompt_id == pair.prompt_id, Pair.id != pair.id, Pair.state == "open"
    )
    found = session.execute(others.order_by(Pair.round_id, Pair.id)).all()
    return [(round_id, pair_id) for round_id, pair_id in found if round_id is not None]


def give_back(session: Session, pair_id: uuid.UUID) -> None:
    """End everybody's claims on a pair."""
    live = (Claim.pair_id == pair_id) & (Claim.state == "live")
    session.execute(update(Claim).where(live).values(state="released"))


def _show_siblings(session: Session, pair: Pair) -> None:
    """Once nothing of a prompt is flagged, its pairs that were replaced may be drawn again."""
    session.flush()
    if is_withheld(session, pair.id):
        return
    open_rounds = select(Round.id).where(Round.state == "labelling")
    passed_on = select(Claim.id).where(Claim.pair_id == Pair.id, Claim.state == "skipped")
    session.execute(
        update(Pair)
        .where(Pair.prompt_id == pair.prompt_id, Pair.id != pair.id, Pair.state == "dropped")
        .where(Pair.round_id.in_(open_rounds), ~passed_on.exists())
        .values(state="pool")
    )


def clear(session: Session, project_id: uuid.UUID, pair_id: uuid.UUID, by: uuid.UUID) -> None:
    """Show the text again; a pair that was replaced meanwhile may be drawn again.

    Raises:
        NotFound: no such pair is withheld in this project.
    """
    pair = session.scalar(
        select(Pair).where(Pair.id == pair_id, Pair.project_id == project_id).with_for_update()
    )
    row = session.get(Withheld, pair_id, populate_existing=True)
    if pair is None or row is None or row.cleared_at is not None:
        raise NotFound(_("There is no such withheld pair in this project."))
    session.execute(
        update(Withheld)
        .where(Withheld.pair_id == pair_id)
        .values(cleared_at=func.now(), cleared_by=by)
    )
    round = session.get(Round, pair.round_id) if pair.round_id else None
    if pair.state == "dropped" and round is not None and round.state == "labelling":
        pair.state = "pool"
    session.flush()
    _show_siblings(session, pair)
    _tell(session, "pair.cleared", pair, by)


def waiting(session: Session, project_id: uuid.UUID, limit: int) -> Sequence[Any]:
    """(Withheld, Pair, prompt) that a manager has to look at, the oldest first."""
    return session.execute(
        select(Withheld, Pair, Prompt.content)
        .join(Pair, Pair.id == Withheld.pair_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(Withheld.project_id == project_id, Withheld.cleared_at.is_(None))
        .order_by(Withheld.created_at, Withheld.pair_id)
        .limit(limit)
    ).all()


def hidden_from(
    session: Session, project_id: uuid.UUID, actor: Actor
) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """Ids of the pairs, and of their prompts, whose text is not shown to who asks.

    Who manages the project sees them all, and an annotator what they flagged themselves.
    """
    if may(actor, role_in(session, actor.person.id, project_id), "manage"):
        return set(), set()
    rows = session.execute(
        select(Pair.id, Pair.prompt_id)
        .join(Withheld, Pair.prompt_id == Withheld.prompt_id)
        .where(
            Withheld.project_id == project_id,
            Withheld.cleared_at.is_(None),
            Withheld.flagged_by.is_distinct_from(actor.person.id),
        )
    ).all()
    return {pair for pair, _ in rows}, {prompt for _, prompt in rows}


def _tell(session: Session, kind: str, pair: Pair, by: uuid.UUID) -> None:
    record(
        session,
        kind,
        project_id=pair.project_id,
        round_id=pair.round_id,
        person_id=by,
        pair=str(pair.id),
    )
