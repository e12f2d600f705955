"""Personal data over HTTP: a copy of it, its deletion, and pairs withheld for it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.database import Db
from app.downloads import download
from app.errors import Forbidden
from app.labelling import withheld
from app.people import queries as people
from app.people.access import CurrentActor, project_for
from app.privacy import actions, queries

router = APIRouter(prefix="/api/v1", tags=["privacy"])


def as_file(person_id: uuid.UUID) -> StreamingResponse:
    """A person's data as a download."""
    found, name = queries.everything_about(person_id), f"person-{person_id}.json"
    return download(found, name, "application/json", private=True)


@router.get("/me/export")
def export_mine(actor: CurrentActor) -> StreamingResponse:
    """All that is kept about who asks: account, keys without secrets, labels, events."""
    if actor.scope != "admin" or actor.only_project is not None:
        raise Forbidden("This needs an admin-scoped key for all projects, or to be signed in.")
    return as_file(actor.person.id)


@router.get("/people/{person_id}/export")
def export_person(person_id: uuid.UUID, actor: CurrentActor, db: Db) -> StreamingResponse:
    """All that is kept about a person (admins)."""
    actor.require_admin()
    return as_file(people.person_by_id(db, person_id).id)


@router.delete("/people/{person_id}")
def delete_person(
    person_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    labels: Annotated[
        actions.Labels,
        Query(description="keep: under another name; remove: but for what a round trained on."),
    ] = "keep",
) -> dict[str, Any]:
    """Delete a person for good (admins)."""
    actor.require_admin()
    person = people.person_by_id(db, person_id)
    return actions.delete_person(db, person, labels, actor.person.id).view()


@router.get("/projects/{project_id}/withheld")
def list_withheld(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Pairs flagged as personal data whose text annotators are not shown; the oldest 500."""
    project = project_for(db, actor, project_id, "manage")
    items = [
        {
            "pair": pair.id,
            "external_id": pair.external_id,
            "prompt": prompt,
            "completion_a": pair.completion_a,
            "completion_b": pair.completion_b,
            "flagged_by": row.flagged_by,
            "flagged_at": row.created_at,
        }
        for row, pair, prompt in withheld.waiting(db, project.id, 500)
    ]
    return {"items": items, "next": None}


@router.post("/projects/{project_id}/withheld/{pair_id}/clear", status_code=204)
def clear_pair(project_id: uuid.UUID, pair_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Show a withheld pair to annotators again."""
    project = project_for(db, actor, project_id, "manage")
    withheld.clear(db, project.id, pair_id, actor.person.id)
