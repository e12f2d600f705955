"""Pages of personal data: one's own account, deleting somebody, pairs that are withheld."""

from __future__ import annotations

import uuid
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from app.database import Db
from app.errors import Conflict, Invalid
from app.labelling import withheld
from app.language import _
from app.people import queries as people
from app.people.access import project_for
from app.privacy import actions
from app.privacy.api import as_file
from app.projects.pages import shared
from app.web import Checked, PageActor, Posted, go, render, text

router = APIRouter(include_in_schema=False)
MOST_PAIRS = 100


@router.get("/account/data")
def my_data(actor: PageActor) -> StreamingResponse:
    """A copy of one's own data."""
    return as_file(actor.person.id)


@router.get("/people/{person_id}/data")
def their_data(person_id: uuid.UUID, actor: PageActor, db: Db) -> StreamingResponse:
    """A copy of somebody's data (admins)."""
    actor.require_admin()
    return as_file(people.person_by_id(db, person_id).id)


@router.get("/people/{person_id}/delete")
def ask(request: Request, person_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """What deleting a person means, and the choice about their labels (admins)."""
    actor.require_admin()
    return _asked(request, people.person_by_id(db, person_id))


def _asked(request: Request, who: object, error: str = "", status: int = 200) -> HTMLResponse:
    return render(request, "privacy/delete.html", status, section="people", who=who, error=error)


@router.post("/people/{person_id}/delete")
def delete(
    request: Request, person_id: uuid.UUID, actor: PageActor, posted: Posted, db: Db
) -> Response:
    """Delete somebody for good (admins)."""
    actor.require_admin()
    person = people.person_by_id(db, person_id)
    labels: Literal["keep", "remove"] = "remove" if text(posted, "labels") == "remove" else "keep"
    try:
        if text(posted, "email").strip().lower() != person.email:
            raise Invalid(_("Write the person's address to say that you mean it."), field="email")
        actions.delete_person(db, person, labels, actor.person.id)
    except (Conflict, Invalid) as problem:
        db.rollback()
        return _asked(request, person, problem.detail, problem.status)
    return go("/people", "person-deleted")


@router.get("/projects/{project_id}/withheld")
def withheld_pairs(
    request: Request, project_id: uuid.UUID, actor: PageActor, db: Db
) -> HTMLResponse:
    """Pairs flagged as personal data, for a manager to look at."""
    project = project_for(db, actor, project_id, "manage")
    rows = withheld.waiting(db, project.id, MOST_PAIRS)
    return render(
        request, "privacy/withheld.html", **shared(db, actor, project, "withheld"), rows=rows
    )


@router.post("/projects/{project_id}/withheld/{pair_id}/clear", dependencies=[Checked])
def clear(project_id: uuid.UUID, pair_id: uuid.UUID, actor: PageActor, db: Db) -> Response:
    """Show the pair again."""
    project = project_for(db, actor, project_id, "manage")
    withheld.clear(db, project.id, pair_id, actor.person.id)
    return go(f"/projects/{project.id}/withheld", "pair-cleared")
