"""HTTP calls of blind evaluations and of imported outputs."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from app.database import Db
from app.downloads import download
from app.errors import NotFound
from app.evaluations import actions, outputs, queries, view
from app.evaluations.models import Evaluation, Outputs
from app.idempotency.route import Once, OnceRoute
from app.language import _
from app.paging import Paged
from app.people.access import Actor, CurrentActor, project_for
from app.projects import writing
from app.projects.api import Completion, ExternalId, PromptContent
from app.projects.export import streamed
from app.projects.row import Row
from app.projects.upload import Received
from app.rounds.events import record
from app.storable import Text

router = APIRouter(prefix="/api/v1", tags=["evaluations"], route_class=OnceRoute)

_INT4 = 2**31 - 1


class SideIn(BaseModel):
    """One side: a policy of the project, or outputs that were imported to it."""

    model_config = ConfigDict(extra="forbid")

    policy: uuid.UUID | None = None
    outputs: uuid.UUID | None = None


class EvaluationIn(BaseModel):
    """What is compared, on which prompts, who answers, and when it is enough."""

    model_config = ConfigDict(extra="forbid")

    a: SideIn
    b: SideIn
    prompts: Literal["eval", "train", "all"] = "eval"
    sample: Annotated[int, Field(ge=1, le=actions.MOST_PROMPTS, strict=True)] | None = Field(
        None, description="At most so many of them, drawn at random."
    )
    overlap: Annotated[int, Field(ge=1, le=100, strict=True)] = 1
    answered_by: Literal["people", "oracle", "anybody"] = "people"
    alpha: Annotated[float, Field(gt=0, lt=0.5, allow_inf_nan=False)] = Field(
        0.05, description="How often two equal sides may be told apart by chance."
    )
    stop_early: StrictBool = Field(True, description="End as soon as the evidence is enough.")
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.25
    max_new_tokens: Annotated[int, Field(ge=1, le=32_768, strict=True)] | None = None

    def asked(self) -> actions.Asked:
        """The same, as the actions take it."""
        different: dict[str, Any] = {"temperature": self.temperature}
        if self.max_new_tokens is not None:
            different["max_new_tokens"] = self.max_new_tokens
        return actions.Asked(
            a=actions.Side(self.a.policy, self.a.outputs),
            b=actions.Side(self.b.policy, self.b.outputs),
            prompts=self.prompts,
            sample=self.sample,
            overlap=self.overlap,
            answered_by=self.answered_by,
            alpha=self.alpha,
            stop_early=self.stop_early,
            generation=different,
        )


class OutputItem(BaseModel):
    """A completion of another model."""

    model_config = ConfigDict(extra="forbid")
    prompt: PromptContent
    completion: Completion
    external_id: ExternalId | None = None


class OutputsBody(BaseModel):
    """Completions as JSON."""

    model_config = ConfigDict(extra="forbid")
    outputs: list[OutputItem]


def evaluation_for(
    db: Db, actor: Actor, evaluation_id: uuid.UUID, need: Literal["manage"] = "manage"
) -> Evaluation:
    """The evaluation, if the actor runs its project: what came of it so far must sway nobody.

    Raises:
        NotFound, Forbidden: as :func:`app.people.access.project_for`.
    """
    evaluation = db.get(Evaluation, evaluation_id)
    if evaluation is None:
        raise NotFound(_("There is no such evaluation, or you are not a member of its project."))
    project_for(db, actor, evaluation.project_id, need)
    return evaluation


@router.post("/projects/{project_id}/evaluations", status_code=202)
def create(
    project_id: uuid.UUID, body: EvaluationIn, actor: CurrentActor, db: Db, _: Once
) -> dict[str, Any]:
    """Open a blind evaluation of one side against another. Workers write the completions; then its
    pairs come over the claims calls and on the labelling page, before those of a batch."""
    project = project_for(db, actor, project_id, "manage")
    evaluation = actions.create(db, project, body.asked(), actor.person.id)
    return view.evaluation_view(evaluation)


@router.get("/projects/{project_id}/evaluations")
def list_evaluations(
    project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged
) -> dict[str, Any]:
    """The project's evaluations, oldest first."""
    project_for(db, actor, project_id, "manage")
    return page.of(db, queries.listed(project_id), Evaluation.id, view.evaluation_view)


@router.get("/evaluations/{evaluation_id}")
def get_evaluation(evaluation_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One evaluation with its result so far: the win-rate of `a` with Wilson's interval, the
    interval that holds at every look (`anytime_*`), the evidence, and what each annotator said."""
    return view.full_view(db, evaluation_for(db, actor, evaluation_id))


@router.post("/evaluations/{evaluation_id}/cancel")
def cancel(evaluation_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Stop it for good; what was answered is kept."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    return view.full_view(db, actions.cancel(db, evaluation, actor.person.id))


@router.post("/evaluations/{evaluation_id}/close")
def close(evaluation_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """End it with the answers there are."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    return view.full_view(db, actions.close(db, evaluation, actor.person.id))


@router.post("/evaluations/{evaluation_id}/retry")
def retry(evaluation_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Let the workers try again to write the completions."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    return view.full_view(db, actions.retry(db, evaluation, actor.person.id))


@router.get("/evaluations/{evaluation_id}/export")
def export(
    evaluation_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    format: Annotated[Literal["jsonl", "csv"], Query(description="The file's format.")] = "jsonl",
) -> StreamingResponse:
    """Every answer, with the texts of both sides: `winner` is `a` or `b` of the evaluation,
    `left_was` the side that stood on the left."""
    evaluation = evaluation_for(db, actor, evaluation_id)
    record(
        db,
        "evaluation.exported",
        project_id=evaluation.project_id,
        person_id=actor.person.id,
        evaluation=str(evaluation.id),
    )
    found = view.exported(streamed(queries.answers(evaluation.id)))
    content = writing.lines(found) if format == "jsonl" else writing.table(found, view.COLUMNS)
    name = f"evaluation-{evaluation.number}-{evaluation.id}.{format}"
    kind = "application/jsonl" if format == "jsonl" else "text/csv; charset=utf-8"
    return download(content, name, kind)


@router.post("/projects/{project_id}/outputs", status_code=201)
def add_outputs(
    project_id: uuid.UUID,
    upload: Received,
    actor: CurrentActor,
    db: Db,
    _: Once,
    name: Annotated[Text, Query(min_length=1, max_length=200, description="What to call them.")],
) -> dict[str, Any]:
    """Import another model's completions: JSON `{"outputs": [{"prompt", "completion"}]}`, or a
    .jsonl, .csv or .parquet file. The project must have the prompts already."""
    project = project_for(db, actor, project_id, "manage")
    given = (
        outputs.rows_of(upload.file, upload.format)
        if upload.format != "json"
        else _items(upload.json())
    )
    made, outcome = outputs.import_outputs(db, project, name, given, actor.person.id)
    return {**_outputs_view(made), **outcome.view()}


def _items(body: Any) -> list[Row]:
    try:
        given = OutputsBody.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    return [Row(n, item.model_dump(exclude_none=True)) for n, item in enumerate(given.outputs, 1)]


@router.get("/projects/{project_id}/outputs")
def list_outputs(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The imported outputs of a project, oldest first."""
    project_for(db, actor, project_id, "manage")
    return page.of(db, queries.outputs_of(project_id), Outputs.id, _outputs_view)


@router.delete("/outputs/{outputs_id}", status_code=204)
def remove_outputs(outputs_id: uuid.UUID, actor: CurrentActor, db: Db) -> Response:
    """Delete imported outputs; 409 where an evaluation compares them."""
    made = db.get(Outputs, outputs_id)
    if made is None:
        raise NotFound(_("There are no such outputs, or you are not a member of their project."))
    project_for(db, actor, made.project_id, "manage")
    outputs.remove(db, made, actor.person.id)
    return Response(status_code=204)


def _outputs_view(made: Outputs) -> dict[str, Any]:
    return {
        "id": made.id,
        "project": made.project_id,
        "name": made.name,
        "count": made.count,
        "created_at": made.created_at,
    }
