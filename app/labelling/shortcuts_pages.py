"""The page on which a person chooses the keys of the labelling page."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.database import Db
from app.errors import Problem
from app.labelling import shortcuts
from app.web import PageActor, Posted, errors_of, go, render, text, texts

router = APIRouter(include_in_schema=False)


@router.get("/account/shortcuts")
def shortcuts_page(request: Request, actor: PageActor) -> HTMLResponse:
    """The keys as they are."""
    return _page(request, shortcuts.of(actor.person.shortcuts), {})


@router.post("/account/shortcuts")
def choose(request: Request, actor: PageActor, form: Posted, db: Db) -> Response:
    """Store the keys, or the usual ones again; or show what is wrong."""
    sent = {verb: value for verb, value in texts(form).items() if verb in shortcuts.DEFAULTS}
    try:
        shortcuts.choose(db, actor.person, {} if text(form, "reset") else sent)
    except Problem as problem:
        db.rollback()
        values = {**shortcuts.DEFAULTS, **sent}
        return _page(request, values, errors_of(problem), problem.status)
    return go("/account/shortcuts", "shortcuts")


def _page(
    request: Request, keys: Mapping[str, str], errors: dict[str, str], status: int = 200
) -> HTMLResponse:
    return render(
        request,
        "labelling/shortcuts.html",
        status,
        section="account",
        words=shortcuts.WORDS,
        keys=keys,
        usual=shortcuts.DEFAULTS,
        errors=errors,
    )
