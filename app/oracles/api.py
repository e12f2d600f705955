"""HTTP calls of oracles: attach, look, detach."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Invalid, NotFound
from app.oracles import actions, addresses, figures, queries, story, webhooks_api
from app.oracles.models import Oracle
from app.oracles.schema import AnyOracle, OpenAI
from app.people.access import CurrentActor, project_for
from app.people.models import Person
from app.sealed import MASK

router = APIRouter(prefix="/api/v1", tags=["oracles"])
router.include_router(webhooks_api.router)


def oracle_view(session: Session, oracle: Oracle) -> dict[str, Any]:
    """An oracle as its project's people see it; never its secret."""
    person = session.get_one(Person, oracle.person_id)
    secret = {"api_key": MASK if oracle.secret else None} if oracle.kind == "openai" else {}
    return {
        "id": oracle.id,
        "project": oracle.project_id,
        **oracle.settings,
        **secret,
        "mode": oracle.mode,
        "annotator": person.email,
        "state": oracle.state,
        "error": oracle.error,
        "notice": story.notice(session, oracle),
        "next_try_at": oracle.next_try_at if oracle.state == "waiting" else None,
        "spent": oracle.spent,
        "created_at": oracle.created_at,
    }


@router.put("/projects/{project_id}/oracle")
def attach(project_id: uuid.UUID, body: AnyOracle, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Attach an oracle: it labels what is open from now on. It replaces the one before."""
    project = project_for(db, actor, project_id, "manage")
    if isinstance(body, OpenAI):
        problem = addresses.refusal(body.base_url)
        if problem:
            raise Invalid(f"base_url: {problem}", field="base_url")
    return oracle_view(db, actions.attach(db, project, body))


@router.get("/projects/{project_id}/oracle")
def look(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """The attached oracle: how it judges, how it does, what it spent."""
    project_for(db, actor, project_id, "view")
    oracle = queries.attached(db, project_id)
    if oracle is None:
        raise NotFound("No oracle is attached to this project.")
    return oracle_view(db, oracle)


@router.get("/projects/{project_id}/oracle/figures")
def trust(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """How far the attached oracle can be trusted: its lean, its word twice, against people's."""
    project_for(db, actor, project_id, "view")
    oracle = queries.attached(db, project_id)
    if oracle is None:
        raise NotFound("No oracle is attached to this project.")
    return figures.figures(db, oracle)


@router.delete("/projects/{project_id}/oracle", status_code=204)
def detach(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Detach the oracle: it stops within seconds; its labels stay."""
    project = project_for(db, actor, project_id, "manage")
    actions.detach(db, project)
