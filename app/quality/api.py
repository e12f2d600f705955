"""HTTP calls of quality: the figures, and setting labels aside."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.database import Db
from app.people.access import CurrentActor, project_for
from app.quality import actions, gold_api, own, queries
from app.storable import Text

router = APIRouter(prefix="/api/v1/projects/{project_id}", tags=["quality"])
router.include_router(gold_api.router)


class AsideIn(BaseModel):
    """Why somebody's labels are set aside."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Text, Field(min_length=1, max_length=actions.LONGEST_REASON)]


@router.get("/quality")
def quality(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Agreement, side bias, length bias and time by round, by annotator and between two."""
    project = project_for(db, actor, project_id, "manage")
    return queries.quality_view(db, project.id)


@router.get("/own-figures")
def own_figures(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One's own pace and agreement; 409 where the project shows them to nobody."""
    project = project_for(db, actor, project_id, "label")
    return own.figures(db, project, actor.person.id).view()


@router.put("/set-asides/{person_id}")
def set_aside(
    project_id: uuid.UUID, person_id: uuid.UUID, body: AsideIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Leave a person's labels out of exports and further trainings; the reason is logged."""
    project = project_for(db, actor, project_id, "manage")
    aside = actions.set_aside(db, project, person_id, body.reason, actor.person.id)
    return {"person": aside.person_id, "reason": aside.reason}


@router.delete("/set-asides/{person_id}")
def take_back(
    project_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Let a person's labels count again."""
    project = project_for(db, actor, project_id, "manage")
    actions.take_back(db, project, person_id, actor.person.id)
    return {"person": person_id, "reason": None}
