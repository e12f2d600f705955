"""HTTP calls of a person's own keys of the labelling page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from app.database import Db
from app.labelling import shortcuts
from app.people.access import CurrentActor
from app.storable import Jsonable

router = APIRouter()


@router.get("/me/shortcuts")
def shown(actor: CurrentActor) -> dict[str, str]:
    """The keys of the labelling page, one's own where one chose them."""
    return shortcuts.of(actor.person.shortcuts)


@router.put("/me/shortcuts")
def choose(
    body: Annotated[Jsonable, Body(examples=[{"left": "ArrowLeft", "right": "ArrowRight"}])],
    actor: CurrentActor,
    db: Db,
) -> dict[str, Any]:
    """Choose keys; what is not named has its usual one. An empty object is a reset."""
    return shortcuts.choose(db, actor.person, body)
