"""HTTP calls of labelling: claim, answer, amend, undo, give back, list."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.database import Db
from app.labelling import actions, queries
from app.labelling.models import Preference
from app.paging import Paged
from app.people.access import CurrentActor, may, project_for, role_in
from app.projects.models import Pair
from app.storable import Jsonable, Text

router = APIRouter(prefix="/api/v1", tags=["labelling"])

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ClaimsIn(BaseModel):
    """How many pairs to claim."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=100, strict=True)


class Judge(BaseModel):
    """Which judge said it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    version: Annotated[Text, Field(max_length=200)] | None = None
    prompt_hash: Annotated[Text, Field(max_length=200)] | None = None


class PreferenceIn(BaseModel):
    """One answer, by the sides that the claim showed."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    strength: Annotated[int, Field(ge=1, le=3, strict=True)] | None = None
    rationale: Annotated[Text, Field(max_length=20_000)] | None = None
    p_left: Probability | None = None
    judge: Jsonable | None = None
    seconds: Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)] | None = Field(
        None, description="Time on the pair with idle time left out; unset: since the claim."
    )

    @model_validator(mode="after")
    def _sides_agree(self) -> PreferenceIn:
        if self.p_left is not None and (
            (self.choice == "left" and self.p_left < 0.5)
            or (self.choice == "right" and self.p_left > 0.5)
        ):
            raise ValueError(f"p_left {self.p_left} is on the other side of ½ than choice")
        if self.judge is not None:
            Judge.model_validate(self.judge)
        return self

    def answer(self) -> actions.Answer:
        """The same, as the actions take it."""
        return actions.Answer(**self.model_dump())


def claim_view(claimed: actions.ClaimedPair) -> dict[str, Any]:
    """A claim as an annotator sees it: nothing that tells who wrote which side."""
    return {
        "id": claimed.claim.id,
        "expires_at": claimed.claim.expires_at,
        "prompt": claimed.prompt,
        "left": claimed.left,
        "right": claimed.right,
    }


def preference_view(preference: Preference) -> dict[str, Any]:
    """A preference as its annotator sees it."""
    return {
        "id": preference.id,
        "claim": preference.claim_id,
        "pair": preference.pair_id,
        "choice": preference.choice,
        "chosen": preference.chosen,
        "left_is": preference.left_is,
        "strength": preference.strength,
        "rationale": preference.rationale,
        "p_left": preference.p_left,
        "judge": preference.judge,
        "seconds": preference.seconds,
        "late": preference.late,
        "version": preference.version,
        "created_at": preference.created_at,
        "updated_at": preference.updated_at,
    }


@router.post("/projects/{project_id}/claims")
def claim(project_id: uuid.UUID, body: ClaimsIn, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Claim further pairs. Empty when nothing is left for this annotator.

    `waiting` counts the open pairs that others hold and this annotator may still get.
    """
    project = project_for(db, actor, project_id, "label")
    claimed = actions.claim_pairs(db, project, actor.person.id, body.count)
    waiting = 0 if claimed else actions.waiting_for_others(db, project, actor.person.id)
    return {"items": [claim_view(c) for c in claimed], "waiting": waiting}


@router.get("/projects/{project_id}/claims")
def held(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """The claims this annotator holds now."""
    project = project_for(db, actor, project_id, "label")
    claimed = actions.held_claims(db, project, actor.person.id)
    return {"items": [claim_view(c) for c in claimed]}


@router.post("/claims/{claim_id}/preference", status_code=201)
def prefer(
    claim_id: uuid.UUID, body: PreferenceIn, actor: CurrentActor, db: Db, response: Response
) -> dict[str, Any]:
    """Answer a claim: 201; the same again: 200 with the same preference."""
    _allowed(actor, db, claim_id)
    preference, new = actions.prefer(db, claim_id, actor.person.id, body.answer())
    if not new:
        response.status_code = 200
    return preference_view(preference)


@router.post("/claims/{claim_id}/release")
def release(claim_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Give a claim back to the others."""
    _allowed(actor, db, claim_id)
    actions.release(db, claim_id, actor.person.id)
    return {"id": claim_id, "released": True}


@router.put("/preferences/{preference_id}")
def amend(
    preference_id: uuid.UUID, body: PreferenceIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Amend one's own answer until its batch is complete; the earlier value stays on record."""
    _allowed(actor, db, preference_id)
    return preference_view(actions.amend(db, preference_id, actor.person.id, body.answer()))


@router.delete("/preferences/{preference_id}")
def undo(preference_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Undo one's own answer until its batch is complete; the claim is held again."""
    _allowed(actor, db, preference_id)
    return {"claim": claim_view(actions.undo(db, preference_id, actor.person.id))}


@router.get("/projects/{project_id}/preferences")
def preferences(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """Every label, oldest first; annotators see their own only."""
    project_for(db, actor, project_id, "view")
    manages = may(actor, role_in(db, actor.person.id, project_id), "manage")
    query = queries.labels(project_id, None if manages else actor.person.id)
    return page.of(db, query, Preference.id, _label_view)


def _label_view(row: tuple[Preference, Pair, Any, str]) -> dict[str, Any]:
    preference, pair, prompt, annotator = row
    return {
        "id": preference.id,
        "pair": preference.pair_id,
        "external_id": pair.external_id,
        "prompt": prompt,
        "choice": preference.choice,
        "chosen": preference.chosen,
        "left_is": preference.left_is,
        "strength": preference.strength,
        "rationale": preference.rationale,
        "p_left": preference.p_left,
        "judge": preference.judge,
        "annotator": annotator,
        "round": preference.round_id,
        "policy": pair.policy_id,
        "seconds": preference.seconds,
        "created_at": preference.created_at,
    }


def _allowed(actor: CurrentActor, db: Db, subject: uuid.UUID) -> None:
    """A key of one project, or a person who was taken out of it, reaches nothing else.

    Ownership of the claim or preference itself is the action's own check.
    """
    project_id = queries.project_of(db, subject)
    if project_id is not None:
        project_for(db, actor, project_id, "label")
