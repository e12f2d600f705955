"""Health for people, and how far the demo has come."""

from __future__ import annotations

import platform

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app.database import Db
from app.demo import status as demo
from app.health import checks
from app.rounds.figures import work_now
from app.settings import get_settings
from app.web import PageActor, app_version, render

router = APIRouter(include_in_schema=False)

MOST_RUNS = 100


@router.get("/system")
def health(request: Request, actor: PageActor, db: Db) -> HTMLResponse:
    """What is there, whether it is fine, and what workers do now (admins)."""
    actor.require_admin()
    parts = checks()
    return render(
        request,
        "system/health.html",
        section="system",
        parts=parts,
        ready=all(part.ok for part in parts),
        runs=[{"run": run, "project_name": name} for run, name in work_now(db, MOST_RUNS)],
        versions=[
            ("ActiveDPO", app_version()),
            ("Python", platform.python_version()),
            ("Policies are kept in", get_settings().artifacts_url),
        ],
    )


@router.get("/demo/progress")
def demo_progress(request: Request, _: PageActor, waited: str = "") -> Response:
    """The notice on the projects page, asked for again until the demo is there.

    Who ``waited`` for it gets the page anew, with the project on it.
    """
    status = demo.read(get_settings().home)
    if status is None or status.stage == "done":
        return Response(status_code=204, headers={"HX-Refresh": "true"} if waited else None)
    return render(request, "projects/_demo.html", demo=status)
