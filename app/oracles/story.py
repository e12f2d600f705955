"""What an attached oracle does, told to people."""

from __future__ import annotations

from sqlalchemy.orm import Session

from activedpo.oracles.llm import NO_LOGPROBS
from app.language import Spoken, _, moment
from app.oracles import queries
from app.oracles.models import Oracle


def notice(session: Session, oracle: Oracle) -> str | None:
    """What its people should know while it works."""
    if oracle.mode == "people_first" and oracle.state in ("active", "waiting"):
        turn = queries.turn_of(session, oracle)
        if turn is not None and not queries.has_its_turn(session, oracle):
            return _(
                "People label first; it fills what is left from %(turn)s on.",
                turn=Spoken(lambda: moment(turn)),
            )
    if oracle.spent.get(NO_LOGPROBS):
        return _("The endpoint gives no log-probabilities: its verdicts count as certain.")
    return None


def in_round(session: Session, oracle: Oracle | None) -> tuple[str, bool] | None:
    """One sentence for the page of a round that takes labels, and whether it is bad news."""
    if oracle is None:
        return None
    if oracle.state == "stopped":
        told = _(
            "The oracle has stopped: %(error)s. People can label everything.", error=oracle.error
        )
        return told, True
    if oracle.state == "waiting":
        told = _(
            "The oracle is in trouble: %(error)s. It tries again by itself; people can label "
            "meanwhile.",
            error=oracle.error,
        )
        return told, True
    said = notice(session, oracle)
    if said is None:
        return _("An oracle is attached. It labels what is its to label."), False
    return _("An oracle is attached. %(said)s", said=said), False
