"""Password links and sessions over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request

from app.database import Db
from app.errors import Forbidden
from app.people import password_links, queries, sessions
from app.people.access import CurrentActor
from app.people.requests import site_of

router = APIRouter(prefix="/api/v1", tags=["people"])


def link_of(site: str, token: str) -> str:
    """The address to give to whom it is for."""
    return f"{site}/password?link={token}"


@router.post("/people/{person_id}/password-link", status_code=201)
def make_link(
    person_id: uuid.UUID, request: Request, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Make a link by which a person sets a new password (admins); shown this once, as `link`.

    It works once, for a day, in the place of an earlier one. Their sessions end when it is used.
    """
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    token, expires = password_links.make(db, person, actor.person)
    return {"person": person.id, "link": link_of(site_of(request), token), "expires_at": expires}


@router.delete("/me/sessions", status_code=204)
def end_sessions(actor: CurrentActor, db: Db) -> None:
    """Sign out everywhere: every browser session of one's own ends. API keys stay."""
    if actor.scope != "admin" or actor.only_project is not None:
        raise Forbidden("This needs a key that is narrowed in nothing, or to be signed in.")
    sessions.sign_out_everywhere(db, actor.person.id)
