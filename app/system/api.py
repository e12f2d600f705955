"""The system over HTTP, for admins of the site."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.database import Db
from app.people.access import CurrentActor
from app.system.view import view

router = APIRouter(prefix="/api/v1/system", tags=["system"])


@router.get("")
def system(actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Workers and what they do, queues, holds, what went wrong, versions and sizes (admins)."""
    actor.require_admin()
    return view(db)
