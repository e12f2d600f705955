"""The page of one pair: its whole way."""

from __future__ import annotations

import uuid

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.database import Db
from app.labelling import way
from app.language import _
from app.people.access import project_for
from app.projects.pages import shared
from app.web import PageActor, render

router = APIRouter(include_in_schema=False)

STATES = {
    "pool": _("in the pool"),
    "open": _("waits for answers"),
    "answered": _("answered"),
    "dropped": _("skipped by all"),
    "unused": _("not answered"),
    "equal": _("both completions are the same"),
    "gold": _("gold"),
}
CLAIMS = {
    "live": _("in hand"),
    "answered": _("answered"),
    "skipped": _("skipped"),
    "released": _("given back"),
    "expired": _("ran out"),
}


@router.get("/projects/{project_id}/pairs/{pair_id}")
def pair_page(
    request: Request, project_id: uuid.UUID, pair_id: uuid.UUID, actor: PageActor, db: Db
) -> HTMLResponse:
    """From the pool to the policies, with who said what."""
    project = project_for(db, actor, project_id, "manage")
    return render(
        request,
        "labelling/pair.html",
        **shared(db, actor, project, "rounds"),
        way=way.way_of(db, project, pair_id),
        states=STATES,
        claim_states=CLAIMS,
    )
