"""HTTP calls of gold pairs; new ones come with an import, ``gold: true`` beside their answer."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.database import Db
from app.downloads import download
from app.paging import Paged
from app.people.access import CurrentActor, project_for
from app.projects import writing
from app.projects.export import streamed
from app.projects.models import Pair
from app.quality import gold
from app.rounds.events import record
from app.storable import Text

router = APIRouter(prefix="/gold")


class GoldIn(BaseModel):
    """A labelled pair that becomes gold; without an answer it is what its labels say."""

    model_config = ConfigDict(extra="forbid")

    pair: uuid.UUID
    answer: Literal["a", "b", "tie", "both_bad"] | None = None
    explanation: Annotated[Text, Field(max_length=gold.LONGEST_EXPLANATION)] | None = None


@router.get("")
def list_gold(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The project's gold pairs, with how many answered each and how many of them rightly."""
    project = project_for(db, actor, project_id, "manage")
    return page.of(db, gold.listed(project.id), Pair.id, gold.view)


@router.post("", status_code=201)
def mark(project_id: uuid.UUID, body: GoldIn, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Make gold of a labelled pair: its labels stay labels, a copy of it is mixed in."""
    project = project_for(db, actor, project_id, "manage")
    made = gold.mark(db, project, body.pair, body.answer, body.explanation, actor.person.id)
    return {"pair": made.pair_id, "source": made.source_pair_id, "answer": made.answer}


@router.get("/answers")
def export_answers(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> StreamingResponse:
    """What annotators said of gold pairs, as JSON Lines. No other export has it."""
    project = project_for(db, actor, project_id, "manage")
    record(db, "gold.exported", project_id=project.id, person_id=actor.person.id)
    found = writing.lines(gold.answer_rows(streamed(gold.answers(project.id))))
    return download(found, f"gold-{project.id}.jsonl", "application/jsonl")


@router.delete("/{pair_id}")
def retire(
    project_id: uuid.UUID, pair_id: uuid.UUID, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Show it to nobody any more; its answers count for nobody."""
    project = project_for(db, actor, project_id, "manage")
    gold.retire(db, project, pair_id, actor.person.id)
    return {"pair": pair_id, "retired": True}
