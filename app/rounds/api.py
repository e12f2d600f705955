"""HTTP calls of rounds: open, look, cancel, retry, cut short."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from app.database import Db
from app.errors import NotFound
from app.idempotency.route import Once, OnceRoute
from app.labelling import gold
from app.language import _
from app.paging import Paged
from app.people.access import CurrentActor, Need, project_for
from app.rounds import actions, forecast, queries
from app.rounds.models import Round
from app.rounds.view import round_view
from app.system.queries import lacking

router = APIRouter(prefix="/api/v1", tags=["rounds"], route_class=OnceRoute)


def round_for(db: Db, actor: CurrentActor, round_id: uuid.UUID, need: Need) -> Round:
    """The round, if the actor may do ``need`` in its project.

    Raises:
        NotFound, Forbidden: as :func:`app.people.access.project_for`.
    """
    round = db.get(Round, round_id)
    if round is None:
        raise NotFound(_("There is no such round, or you are not a member of its project."))
    project_for(db, actor, round.project_id, need)
    return round


@router.post("/projects/{project_id}/rounds", status_code=202)
def open_round(project_id: uuid.UUID, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Open the next round; 409 while one is neither done nor cancelled."""
    project = project_for(db, actor, project_id, "manage")
    return round_view(actions.open_round(db, project, actor.person.id))


@router.get("/projects/{project_id}/rounds")
def list_rounds(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The project's rounds, oldest first."""
    project_for(db, actor, project_id, "view")
    query = select(Round).where(Round.project_id == project_id)
    return page.of(db, query, Round.id, lambda round: _shown(db, actor, round))


def _shown(db: Db, actor: CurrentActor, round: Round) -> dict[str, Any]:
    return round_view(gold.as_seen_by(db, actor, round))


@router.get("/projects/{project_id}/forecast")
def get_forecast(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """What the next round will take, in seconds by stage, from what the last five took; `reason`
    says why nothing is known. Sizes are those of the settings as they are now."""
    return forecast.forecast(db, project_for(db, actor, project_id, "view")).view()


@router.get("/rounds/{round_id}")
def get_round(round_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One round: state, progress, labels, metrics, error."""
    round = round_for(db, actor, round_id, "view")
    # What no worker takes that is there: "train" or "generate"; null: nothing waits for that
    lacks = lacking(db, queries.runs_of(db, round.id))
    return _shown(db, actor, round) | {"waits_for": lacks}


@router.get("/rounds/{round_id}/events")
def list_events(round_id: uuid.UUID, actor: CurrentActor, db: Db, after: int = 0) -> dict[str, Any]:
    """What happened in a round, in order, after the event with id `after`."""
    round_for(db, actor, round_id, "view")
    events = queries.events_of(db, round_id, max(0, min(after, 2**62)))
    items = [{"id": e.id, "kind": e.kind, "at": e.created_at, "data": e.data} for e in events]
    return {"items": items, "next": None}


@router.post("/rounds/{round_id}/cancel")
def cancel(round_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Stop a round for good; its labels stay and train in the next one."""
    round = round_for(db, actor, round_id, "manage")
    return round_view(actions.cancel(db, round, actor.person.id))


@router.post("/rounds/{round_id}/retry")
def retry(round_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Take a failed round up again at the stage that failed."""
    round = round_for(db, actor, round_id, "manage")
    return round_view(actions.retry(db, round, actor.person.id))


@router.post("/rounds/{round_id}/train")
def train(round_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Go on with the labels there are."""
    round = round_for(db, actor, round_id, "manage")
    return round_view(actions.train_now(db, round, actor.person.id))
