"""HTTP calls of practice: how far one is, an answer and what it was worth; the pairs, results."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.database import Db
from app.labelling import practice, practice_setup
from app.labelling.practice_models import PracticePair, PracticeResult
from app.people.access import CurrentActor, project_for
from app.projects.models import Project
from app.storable import Text

router = APIRouter(prefix="/projects/{project_id}")


class PracticeIn(BaseModel):
    """An answer, by the sides that are shown."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["left", "right", "tie", "both_bad"]


class PracticePairIn(BaseModel):
    """A practice pair: its answer, and the explanation that is shown after it."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text | list[dict[str, Text]]
    completion_a: Text
    completion_b: Text
    answer: Literal["a", "b", "tie", "both_bad"]
    explanation: Annotated[Text, Field(max_length=practice_setup.LONGEST_EXPLANATION)]


class PracticePairsIn(BaseModel):
    """All of a project's practice pairs, in their order."""

    model_config = ConfigDict(extra="forbid")

    pairs: Annotated[list[PracticePairIn], Field(max_length=practice_setup.MOST_PAIRS)]


@router.get("/practice")
def how_far(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """The guidelines, how far one is with practice, and the pair that comes next."""
    project = project_for(db, actor, project_id, "label")
    return {
        "guidelines": project.guidelines,
        "asked": practice.is_asked(db, project, actor),
        **_standing(project, practice.standing(db, project, actor.person.id)),
    }


@router.post("/practice/{practice_id}", status_code=201)
def answer(
    project_id: uuid.UUID,
    practice_id: uuid.UUID,
    body: PracticeIn,
    actor: CurrentActor,
    db: Db,
) -> dict[str, Any]:
    """Answer the practice pair that comes next; told at once whether it is right, and why."""
    project = project_for(db, actor, project_id, "label")
    given, result = practice.answer(db, project, actor.person.id, practice_id, body.choice)
    pair = db.get_one(PracticePair, practice_id)
    sides = {given.left_is: "left", "b" if given.left_is == "a" else "a": "right"}
    return {
        "right": given.right,
        "answer": sides.get(pair.answer, pair.answer),
        "explanation": pair.explanation,
        "result": _result(result),
    }


@router.get("/practice-pairs")
def pairs(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """The practice pairs with their answers and explanations, in their order."""
    project = project_for(db, actor, project_id, "manage")
    found = practice.pairs_of(db, project.id)
    return {"items": [_pair(pair) for pair in found], "next": None}


@router.put("/practice-pairs")
def set_pairs(
    project_id: uuid.UUID, body: PracticePairsIn, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Set the practice pairs. Tries under way begin anew; results stay."""
    project = project_for(db, actor, project_id, "manage")
    news = [practice_setup.checked(pair.model_dump()) for pair in body.pairs]
    made = practice_setup.replace_all(db, project, news, actor.person.id)
    return {"items": [_pair(pair) for pair in made], "next": None}


@router.get("/practice-results")
def results(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """How everybody's practice went."""
    project = project_for(db, actor, project_id, "manage")
    return {"items": [one.view() for one in practice_setup.results(db, project)], "next": None}


@router.delete("/practice-results/{person_id}")
def reset(
    project_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Forget a person's results, so that they practise anew."""
    project = project_for(db, actor, project_id, "manage")
    practice_setup.reset(db, project, person_id, actor.person.id)
    return {"person": person_id, "passed": False}


def _standing(project: Project, at: practice.Standing) -> dict[str, Any]:
    return {
        "pass_mark": project.practice_pass,
        "pairs": at.pairs,
        "attempt": at.attempt,
        "answered": len(at.answered),
        "right": at.right,
        "passed": at.passed,
        "last": _result(at.last),
        "next": _shown(at) if at.next else None,
    }


def _shown(at: practice.Standing) -> dict[str, Any]:
    assert at.next is not None, "only what comes next is shown"
    left, right = practice.by_sides(at.next, at.left_is)
    return {"id": at.next.id, "prompt": at.next.prompt, "left": left, "right": right}


def _result(result: PracticeResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "attempt": result.attempt,
        "right": result.right,
        "total": result.total,
        "passed": result.passed,
    }


def _pair(pair: PracticePair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "prompt": pair.prompt,
        "completion_a": pair.completion_a,
        "completion_b": pair.completion_b,
        "answer": pair.answer,
        "explanation": pair.explanation,
    }
