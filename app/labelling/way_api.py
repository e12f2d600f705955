"""A pair's whole way over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter

from app.database import Db
from app.labelling import way
from app.people.access import CurrentActor, project_for

router = APIRouter()


@router.get("/projects/{project_id}/pairs/{pair_id}")
def get_pair(
    project_id: uuid.UUID, pair_id: uuid.UUID, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """A pair from the pool to the policies trained on it: why it was chosen, who had it, what was
    said with every earlier value, and which trainings used it (managers)."""
    project = project_for(db, actor, project_id, "manage")
    return way.way_of(db, project, pair_id).view()
