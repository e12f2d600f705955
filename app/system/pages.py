"""The page "System", and how far the demo has come."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.database import Db
from app.demo import status as demo
from app.rounds.story import STAGE_WORDS
from app.settings import get_settings
from app.system.view import view
from app.web import PageActor, render

router = APIRouter(include_in_schema=False)


@router.get("/admin/system")
def system(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """What is there, whether it is fine, what workers do and what went wrong (admins)."""
    actor.require_admin()
    seen = view(db)
    ready = all(part["ok"] for part in seen["checks"])
    return render(
        request,
        "system/system.html",
        section="system",
        s=seen,
        ready=ready,
        stage_words=STAGE_WORDS,
    )


@router.get("/system")
def moved(actor: PageActor) -> RedirectResponse:
    """Where the page was before."""
    actor.require_admin()
    return RedirectResponse("/admin/system", 308)


@router.get("/demo/progress")
def demo_progress(request: Request, _: PageActor, waited: str = "") -> Response:
    """The notice on the projects page, asked for again until the demo is there.

    Who ``waited`` for it gets the page anew, with the project on it.
    """
    status = demo.read(get_settings().home)
    if status is None or status.stage == "done":
        return Response(status_code=204, headers={"HX-Refresh": "true"} if waited else None)
    return render(request, "projects/_demo.html", demo=status)
