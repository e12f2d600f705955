"""Projects, their prompts and imported pairs over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
)
from sqlalchemy.orm import Session

from app.database import Db
from app.downloads import download
from app.errors import Invalid
from app.idempotency.route import Once, OnceRoute
from app.labelling import withheld
from app.paging import Paged
from app.people.access import CurrentActor, project_for
from app.projects import (
    actions,
    content,
    datasets,
    deletion,
    export,
    imports,
    preview,
    queries,
)
from app.projects import mapping as mappings
from app.projects.mapping import PAIR_FIELDS, PROMPT_FIELDS, Named
from app.projects.models import Project, Prompt
from app.projects.row import Columns, Rejected, Row
from app.projects.schema import ProjectSettings
from app.projects.upload import Received, Upload
from app.quality.gold import LONGEST_EXPLANATION
from app.rounds.events import record
from app.storable import Text

router = APIRouter(prefix="/api/v1/projects", tags=["projects"], route_class=OnceRoute)

Split = Literal["train", "eval"]
PromptContent = Annotated[
    str | list[dict[str, str]], BeforeValidator(lambda value: content.prompt(value))
]
Completion = Annotated[Text, AfterValidator(content.completion)]
ExternalId = Annotated[Text, Field(max_length=1_000)]
Mapped = Annotated[
    str | None,
    Query(
        description="Of a file: which column holds which of our fields, as JSON: "
        '`{"prompt": "question", "completion_a": "answers.0"}`. May also come as a field of the '
        "form."
    ),
]
Ids = Annotated[
    bool,
    Query(
        description="Answer with `ids`: the id of every row that is stored now, new or not, beside "
        "its line; up to 100,000 rows."
    ),
]
DryRun = Annotated[
    bool,
    Query(
        description="Store nothing; the answer also has the file's `columns` and its `first` rows "
        "as they would be stored."
    ),
]


class PromptItem(BaseModel):
    """A prompt to import."""

    model_config = ConfigDict(extra="forbid")
    prompt: PromptContent
    split: Split | None = None
    external_id: ExternalId | None = None


class PairItem(BaseModel):
    """A pair of completions to import."""

    model_config = ConfigDict(extra="forbid")
    prompt: PromptContent
    completion_a: Completion
    completion_b: Completion
    external_id: ExternalId | None = None
    gold: StrictBool = False
    answer: Literal["a", "b", "tie", "both_bad"] | None = None
    explanation: Annotated[Text, Field(max_length=LONGEST_EXPLANATION)] | None = None


class PromptsBody(BaseModel):
    """Prompts as JSON: all of them are good, or none is stored."""

    model_config = ConfigDict(extra="forbid")
    prompts: list[PromptItem]


class PairsBody(BaseModel):
    """Pairs as JSON: all of them are good, or none is stored."""

    model_config = ConfigDict(extra="forbid")
    pairs: list[PairItem]


def _accepts(body: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of an import, whose body FastAPI does not read itself."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary"},
                "mapping": {"type": "string"},
            },
        }
    }
    (field,) = body.model_fields
    item = PromptItem if body is PromptsBody else PairItem
    schema = {
        "type": "object",
        "required": [field],
        "additionalProperties": False,
        "properties": {field: {"type": "array", "items": item.model_json_schema()}},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "multipart/form-data": form,
                "application/jsonl": binary,
                "text/csv": binary,
                "application/vnd.apache.parquet": binary,
                "application/zip": binary,
            },
        }
    }


@router.post("", status_code=201)
def create_project(body: ProjectSettings, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Create a project (admins of the site); everything but `name` has a default."""
    actor.require_admin()
    values = body.model_dump(exclude_unset=True)
    return queries.project_view(actions.create_project(db, values, actor.person))


@router.get("")
def list_projects(actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The projects that one may see."""
    return page.of(db, queries.visible_projects(actor), Project.id, queries.project_view)


@router.get("/{project_id}")
def get_project(project_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One project, with how many prompts and pairs it has."""
    project = project_for(db, actor, project_id, "view")
    return {**queries.project_view(project), "counts": queries.counts(db, project.id)}


@router.patch("/{project_id}")
def change_project(
    project_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    body: Annotated[dict[str, Any], Body(description="Fields of a project, and `archived`.")],
) -> dict[str, Any]:
    """Change some settings; of `generation` and `training` also some."""
    project = project_for(db, actor, project_id, "manage")
    return queries.project_view(actions.change_project(db, project, body, actor.person.id))


@router.delete("/{project_id}", status_code=202)
def delete_project(
    project_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    name: Annotated[str, Query(description="The project's name, to confirm.")] = "",
) -> dict[str, Any]:
    """Delete a project with all its data and the files of its policies, for good; 409 while a round
    or an evaluation is under way. Nobody sees it from now on, and a worker erases it."""
    project = project_for(db, actor, project_id, "own")
    deletion.delete_project(db, project, name, actor.person.id)
    return {"id": project_id, "deleted": True}


@router.get("/{project_id}/prompts")
def list_prompts(
    project_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    page: Paged,
    split: Annotated[Split | None, Query(description="Only of this split.")] = None,
) -> dict[str, Any]:
    """The prompts of a project, in the order in which they came."""
    project = project_for(db, actor, project_id, "view")
    _, hidden = withheld.hidden_from(db, project.id, actor)
    found = page.of(db, queries.prompts_of(project.id, split), Prompt.id, queries.prompt_view)
    for prompt in found["items"]:
        if prompt["id"] in hidden:
            prompt["prompt"] = withheld.HIDDEN
    return found


@router.post("/{project_id}/prompts", openapi_extra=_accepts(PromptsBody))
def add_prompts(
    project_id: uuid.UUID,
    upload: Received,
    actor: CurrentActor,
    db: Db,
    _: Once,
    split: Annotated[Split, Query(description="For prompts that name none.")] = "train",
    mapping: Mapped = None,
    ids: Ids = False,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Import prompts: JSON, or a .jsonl, .csv or .parquet file, or a dataset of such as a .zip."""
    project = project_for(db, actor, project_id, "manage")
    named = mappings.named(mapping or upload.fields.get("mapping"), PROMPT_FIELDS)
    given = _rows(upload, PromptsBody, imports.PROMPT_COLUMNS, named)
    return _done(
        db,
        lambda: imports.import_prompts(db, project, given, split, by=actor.person.id, ids=ids),
        dry_run,
        given,
    )


@router.post("/{project_id}/pairs", openapi_extra=_accepts(PairsBody))
def add_pairs(
    project_id: uuid.UUID,
    upload: Received,
    actor: CurrentActor,
    db: Db,
    _: Once,
    labels: Annotated[
        bool, Query(description="Also store what the file says is better, marked as recorded.")
    ] = False,
    gold: Annotated[
        bool, Query(description="Take every row for a gold pair, whose answer is known.")
    ] = False,
    mapping: Mapped = None,
    shape: Annotated[
        str | None, Query(description="The file's shape, where it is not to be recognised.")
    ] = None,
    ids: Ids = False,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Import pairs of completions that exist already: JSON, or a file.

    A file may also be of trl's, Anthropic hh's, LMArena's, AlpacaEval's, Argilla's or Label
    Studio's shape, JSON arrays too: `shape` says so. A .zip may hold a dataset as Hugging Face
    writes it: of one with splits those for testing are left out, and named in `left_out`.
    """
    project = project_for(db, actor, project_id, "manage")
    named = mappings.named(mapping or upload.fields.get("mapping"), PAIR_FIELDS)
    given = _rows(upload, PairsBody, imports.PAIR_COLUMNS, named)
    return _done(
        db,
        lambda: imports.import_pairs(
            db,
            project,
            given,
            labels=labels,
            gold=gold,
            file=upload.name,
            shape=shape,
            mapping=named,
            by=actor.person.id,
            ids=ids,
        ),
        dry_run,
        given,
    )


def _done(
    db: Session,
    store: Callable[[], imports.Outcome],
    dry_run: bool,
    given: Iterable[Row | Rejected],
) -> dict[str, Any]:
    view = preview.view(preview.dry_run(db, store)) if dry_run else store().view()
    return {**view, **given.view()} if isinstance(given, datasets.Dataset) else view


@router.get("/{project_id}/export")
def export_labels(
    project_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    format: Annotated[export.Format, Query(description="The file's format.")] = "jsonl",
) -> StreamingResponse:
    """Every label as a file. `trl`: left and right choices, as `trl.DPOTrainer` loads them;
    `hh`: the same as transcripts; `lmarena`, `alpaca-eval`, `argilla` and `label-studio`: what
    their shapes can say, to be imported again.

    In `csv`, a cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    project = project_for(db, actor, project_id, "manage")
    chat = export.is_chat(project, queries.has_conversations(db, project.id))
    record(
        db,
        "labels.exported",
        project_id=project.id,
        person_id=actor.person.id,
        format=format,
    )
    name = f"preferences-{project.id}.{export.suffix(format)}"
    return download(export.export(project, format, chat), name, export.MEDIA_TYPES[format])


def _rows(
    upload: Upload, body: type[PromptsBody | PairsBody], columns: Columns, mapping: Named
) -> Iterable[Row | Rejected]:
    if upload.format != "json":
        pairs = body is PairsBody
        return datasets.rows(upload.file, upload.format, columns, mapping, pairs=pairs)
    if mapping:
        raise Invalid("mapping: is for files; the fields of JSON have our names.", field="mapping")
    try:
        given = body.model_validate(upload.json())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    items = given.prompts if isinstance(given, PromptsBody) else given.pairs
    return (Row(number, item.model_dump(exclude_none=True)) for number, item in enumerate(items, 1))
