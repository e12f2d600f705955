"""What may happen to an oracle, one function a verb. Callers commit."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete, func, update
from sqlalchemy.orm import Session

from activedpo.oracles.llm import NO_LOGPROBS
from app import jobs
from app.errors import NotFound
from app.labelling.models import Claim
from app.language import _
from app.oracles import queries
from app.oracles.models import ON_ACCELERATOR, Oracle
from app.oracles.schema import OpenAI, Settings
from app.people.models import Membership, Person
from app.projects.models import Project
from app.rounds import queries as rounds
from app.rounds.events import record
from app.sealed import MASK, UnreadableSecretError, seal, unseal

WAKE, WAKE_ON_ACCELERATOR = "activedpo.oracle", "activedpo.round"
FIRST_REST, LONGEST_REST = 10.0, 300.0
"""Seconds that an oracle in trouble rests, doubled each time."""


def attach(session: Session, project: Project, settings: Settings) -> Oracle:
    """Let a judge label in a project, instead of the one that did; the same again changes nothing.

    A key that is left out stays the one there is, as long as it goes to the same address.
    """
    project = rounds.lock_project(session, project.id)
    before = queries.locked(session, project.id)
    values, secret = _split(settings)
    if secret in (None, MASK):
        secret = _kept_secret(before, values)
    if before is not None and _same(before, settings, values, secret):
        _take_up(before)
        wake(session, before)
        return before
    if before is not None:
        _let_go_for_good(session, before)
    oracle = Oracle(
        project_id=project.id,
        person_id=_person(session, project, values["kind"]).id,
        kind=values["kind"],
        mode=settings.mode,
        settings=values,
        secret=seal(secret) if secret else None,
    )
    session.add(oracle)
    session.flush()
    _say(session, oracle, "attached", oracle_kind=oracle.kind, mode=oracle.mode)
    wake(session, oracle)
    return oracle


def detach(session: Session, project: Project) -> None:
    """End an oracle: it stops within seconds, what it holds is given back, its labels stay.

    Raises:
        NotFound: none is attached.
    """
    rounds.lock_project(session, project.id)
    oracle = queries.locked(session, project.id)
    if oracle is None:
        raise NotFound(_("No oracle is attached to this project."))
    _let_go_for_good(session, oracle)


def wake(session: Session, oracle: Oracle) -> None:
    """Ask a worker to look at the oracle once this transaction has committed."""
    if oracle.state not in ("active", "waiting"):
        return
    if oracle.kind in ON_ACCELERATOR:
        jobs.ring(session, WAKE_ON_ACCELERATOR, oracle.project_id)
    else:
        jobs.ring(session, WAKE, oracle.project_id, queue="default")


def wake_in(session: Session, project_id: uuid.UUID) -> None:
    """Wake the oracle of a project, if it has one: there may be something new to label."""
    oracle = queries.attached(session, project_id)
    if oracle is not None:
        wake(session, oracle)


def let_go(session: Session, oracle: Oracle) -> None:
    """End a worker's hold in good order; what it still holds of pairs is given back."""
    oracle.lease_owner = oracle.lease_expires_at = None
    _release_claims(session, oracle)


def worked(session: Session, oracle: Oracle, spent: dict[str, float]) -> None:
    """Count what judging cost; an oracle that gets on is in trouble no more."""
    total = dict(oracle.spent)
    for name, value in spent.items():
        total[name] = total.get(name, 0) + value
    if total.get(NO_LOGPROBS) and not oracle.spent.get(NO_LOGPROBS):
        _say(session, oracle, NO_LOGPROBS)  # once
    oracle.spent = total
    if oracle.state == "waiting":
        oracle.state = "active"
    oracle.error, oracle.failures, oracle.next_try_at = None, 0, None
    session.flush()


def rest(session: Session, oracle: Oracle, why: str, after: float | None = None) -> None:
    """In trouble that may pass: try again later, let people label meanwhile.

    Args:
        after: seconds that the endpoint asked for, if it did.
    """
    pause = min(LONGEST_REST, FIRST_REST * 2 ** min(oracle.failures, 10))
    seconds = min(3600.0, max(pause, after or 0.0))
    oracle.failures += 1
    oracle.state, oracle.error = "waiting", why
    oracle.next_try_at = func.clock_timestamp() + dt.timedelta(seconds=seconds)
    let_go(session, oracle)
    _say(session, oracle, "waiting", seconds=round(seconds))


def stop(session: Session, oracle: Oracle, why: str) -> None:
    """It cannot go on by itself: people take over until somebody attaches it anew."""
    oracle.state, oracle.error = "stopped", why
    let_go(session, oracle)
    _say(session, oracle, "stopped")


def _split(settings: Settings) -> tuple[dict[str, Any], str | None]:
    secret = settings.api_key if isinstance(settings, OpenAI) else None
    return (
        settings.model_dump(mode="json", exclude={"api_key", "mode"}),
        secret.get_secret_value() if secret is not None else None,
    )


def _kept_secret(before: Oracle | None, values: dict[str, Any]) -> str | None:
    if before is None or before.secret is None:
        return None
    if before.settings.get("base_url") != values.get("base_url"):
        return None  # never carried to another address
    try:
        return unseal(before.secret)
    except UnreadableSecretError:
        return None


def _same(oracle: Oracle, settings: Settings, values: dict[str, Any], secret: str | None) -> bool:
    return (
        oracle.mode == settings.mode
        and oracle.settings == values
        and _kept_secret(oracle, values) == secret
    )


def _take_up(oracle: Oracle) -> None:
    oracle.state, oracle.error = "active", None
    oracle.failures, oracle.next_try_at = 0, None


def _person(session: Session, project: Project, kind: str) -> Person:
    """Somebody new: another judge is another annotator, and may see what the last one skipped."""
    number = queries.count_of(session, project.id) + 1
    mark = f"+{number}" if number > 1 else ""
    email = f"oracle+{project.id}{mark}@activedpo.invalid"
    person = Person(email=email, name=f"Oracle ({kind.replace('_', ' ')})")
    session.add(person)
    session.flush()
    session.add(Membership(project_id=project.id, person_id=person.id, role="oracle"))
    session.flush()
    return person


def _let_go_for_good(session: Session, oracle: Oracle) -> None:
    oracle.state, oracle.detached_at = "detached", func.now()
    oracle.attempt += 1  # whoever works for it may store nothing more
    oracle.secret = None
    let_go(session, oracle)
    session.execute(
        delete(Membership).where(
            Membership.project_id == oracle.project_id, Membership.person_id == oracle.person_id
        )
    )
    session.get_one(Person, oracle.person_id).active = False
    session.flush()
    _say(session, oracle, "detached")


def _release_claims(session: Session, oracle: Oracle) -> None:
    session.flush()
    session.execute(
        update(Claim)
        .where(Claim.person_id == oracle.person_id, Claim.state == "live")
        .values(state="released")
    )


def _say(session: Session, oracle: Oracle, what: str, **data: Any) -> None:
    round = rounds.open_round_of(session, oracle.project_id)
    record(
        session,
        f"oracle.{what}",
        project_id=oracle.project_id,
        round_id=round.id if round else None,
        person_id=oracle.person_id,
        **data,
    )
