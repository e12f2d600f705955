"""Disagreements over HTTP: what waits for a reviewer, and deciding it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.database import Db
from app.labelling import actions, reviewing
from app.people.access import CurrentActor, project_for
from app.storable import Jsonable, Text

router = APIRouter(prefix="/projects/{project_id}/disagreements")

MOST = 100


class DecisionIn(BaseModel):
    """What a reviewer decides, by the sides that they were shown."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["left", "right", "tie", "both_bad"]
    strength: Annotated[int, Field(ge=1, le=3, strict=True)] | None = None
    rationale: Annotated[Text, Field(max_length=20_000)] | None = None
    answers: Jsonable | None = Field(
        None, description="To the project's `questions`, by their names."
    )


@router.get("")
def list_disagreements(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Up to 100 pairs that wait for a reviewer, with what was said of them, without names."""
    project = project_for(db, actor, project_id, "review")
    found = reviewing.waiting(db, project, actor, MOST)
    return {"items": [one.view() for one in found], "next": None}


@router.post("/{pair_id}", status_code=201)
def decide(
    project_id: uuid.UUID, pair_id: uuid.UUID, body: DecisionIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Decide one; the annotators' answers stay on record, and this one counts."""
    project = project_for(db, actor, project_id, "review")
    answer = actions.Answer(**body.model_dump())
    preference = reviewing.decide(db, project, pair_id, actor, answer)
    return {"id": preference.id, "pair": preference.pair_id, "choice": preference.choice}
