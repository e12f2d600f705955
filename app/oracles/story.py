"""What an attached oracle does, told to people."""

from __future__ import annotations

from sqlalchemy.orm import Session

from activedpo.oracles.llm import NO_LOGPROBS
from app.oracles import queries
from app.oracles.models import Oracle


def notice(session: Session, oracle: Oracle) -> str | None:
    """What its people should know while it works."""
    if oracle.mode == "people_first" and oracle.state in ("active", "waiting"):
        turn = queries.turn_of(session, oracle)
        if turn is not None and not queries.has_its_turn(session, oracle):
            return f"People label first; it fills what is left from {turn:%Y-%m-%d %H:%M} UTC on."
    if oracle.spent.get(NO_LOGPROBS):
        return "The endpoint gives no log-probabilities: its verdicts count as certain."
    return None


def in_round(session: Session, oracle: Oracle | None) -> tuple[str, bool] | None:
    """One sentence for the page of a round that takes labels, and whether it is bad news."""
    if oracle is None:
        return None
    if oracle.state == "stopped":
        return f"The oracle has stopped: {oracle.error}. People can label everything.", True
    if oracle.state == "waiting":
        return (
            f"The oracle is in trouble: {oracle.error}. It tries again by itself; people can "
            "label meanwhile.",
            True,
        )
    said = notice(session, oracle)
    return f"An oracle is attached. {said or 'It labels what is its to label.'}", False
