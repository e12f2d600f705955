"""HTTP calls of the playground."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.database import Db
from app.errors import NotFound
from app.idempotency.route import Once, OnceRoute
from app.language import _ as said
from app.people.access import Actor, CurrentActor, project_for
from app.playground import actions
from app.playground.models import Trial
from app.projects.api import PromptContent
from app.projects.models import Project

router = APIRouter(prefix="/api/v1", tags=["playground"], route_class=OnceRoute)


class TrialIn(BaseModel):
    """A prompt, the two policies that are to answer it, and how."""

    model_config = ConfigDict(extra="forbid")

    prompt: PromptContent
    a: uuid.UUID = Field(description="A policy of the project; π₀ is one.")
    b: uuid.UUID
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.7
    max_new_tokens: Annotated[int, Field(ge=1, le=4_096, strict=True)] = 128

    def wanted(self) -> actions.Wanted:
        """The same, as the actions take it."""
        return actions.Wanted(**self.model_dump())


def trial_for(db: Db, actor: Actor, trial_id: uuid.UUID) -> tuple[Trial, Project]:
    """The trial and its project, if the actor runs that.

    Raises:
        NotFound, Forbidden: as :func:`app.people.access.project_for`.
    """
    trial = db.get(Trial, trial_id)
    if trial is None:
        raise NotFound(said("There is no such trial any more, or it is not yours to see."))
    return trial, project_for(db, actor, trial.project_id, "manage")


def trial_view(trial: Trial) -> dict[str, Any]:
    """A trial as JSON."""
    return {
        "id": trial.id,
        "project": trial.project_id,
        "prompt": trial.prompt,
        "a": {"policy": trial.policy_a_id, "completion": trial.completion_a,
              "finished": trial.finished_a},
        "b": {"policy": trial.policy_b_id, "completion": trial.completion_b,
              "finished": trial.finished_b},
        "temperature": trial.generation.get("temperature"),
        "max_new_tokens": trial.generation.get("max_new_tokens"),
        "state": trial.state,
        "error": trial.error,
        "pair": trial.pair_id,
        "created_at": trial.created_at,
        "expires_at": trial.expires_at,
    }  # fmt: skip


@router.post("/projects/{project_id}/trials", status_code=202)
def ask(
    project_id: uuid.UUID, body: TrialIn, actor: CurrentActor, db: Db, _: Once
) -> dict[str, Any]:
    """Let two policies answer one prompt, before other work that waits; poll `GET /trials/{id}`.

    Nothing of it is a label, and after an hour it is forgotten. 429 above 60 an hour, or 3 at once.
    """
    project = project_for(db, actor, project_id, "manage")
    return trial_view(actions.ask(db, project, body.wanted(), actor.person.id))


@router.get("/trials/{trial_id}")
def get_trial(trial_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One trial, with its answers once they are there."""
    return trial_view(trial_for(db, actor, trial_id)[0])


@router.post("/trials/{trial_id}/cancel")
def cancel(trial_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Answer it no further."""
    return trial_view(actions.cancel(db, trial_for(db, actor, trial_id)[0]))


@router.post("/trials/{trial_id}/keep")
def keep(trial_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Make a pair of it, which the next round asks about; again: the same pair."""
    trial, project = trial_for(db, actor, trial_id)
    actions.keep(db, project, trial, actor.person.id)
    return trial_view(trial)
