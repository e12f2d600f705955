"""Pages of importing: the form, a look at what a file would come to, what came of it."""

from __future__ import annotations

import uuid
from pathlib import PurePath
from typing import Any, Literal, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile

from app.database import Db
from app.errors import Invalid, NotFound, Problem
from app.imports import actions, looking
from app.imports.looking import Choice, Look
from app.imports.models import KeptFile
from app.language import _
from app.people.access import Actor, project_for
from app.projects import mapping, shapes
from app.projects.models import Project
from app.projects.pages import shared
from app.projects.reading import Format
from app.projects.row import Row
from app.projects.upload import BY_SUFFIX
from app.web import PageActor, Posted, go, render, text, texts

router = APIRouter(include_in_schema=False)
What = Literal["prompts", "pairs"]


@router.get("/projects/{project_id}/import")
def import_page(request: Request, project_id: uuid.UUID, actor: PageActor, db: Db) -> HTMLResponse:
    """Where prompts and pairs come in."""
    project = project_for(db, actor, project_id, "manage")
    return _import(request, db, actor, project)


@router.post("/projects/{project_id}/import/{what}")
def take_import(
    request: Request,
    project_id: uuid.UUID,
    what: What,
    actor: PageActor,
    posted: Posted,
    db: Db,
) -> Response:
    """Import a file or pasted lines and say what came of it, or keep the file for a look."""
    project = project_for(db, actor, project_id, "manage")
    try:
        how = Choice.of(texts(posted), pairs=what == "pairs")
        file = _file(posted)
        if file is not None and text(posted, "step") == "look":
            kept = actions.keep(
                project.id,
                actor.person.id,
                file.file,
                kind=what,
                name=_name(file),
                format=_format(file),
            )
            query = f"?{urlencode(how.query)}" if how.query else ""
            return go(f"/projects/{project.id}/import/kept/{kept}{query}")
        given = _pasted(posted) if file is None else how.rows(file.file, _format(file))
        name = "" if file is None else _name(file)
        stored = looking.store(db, project, given, how, file=name, by=actor.person.id)
    except Problem as problem:
        db.rollback()
        return _import(request, db, actor, project, error=problem.detail, status=problem.status)
    return _import(request, db, actor, project, result=_result(*stored, how))


def _file(posted: FormData) -> UploadFile | None:
    file = posted.get("file")
    return file if isinstance(file, UploadFile) and file.filename else None


def _name(file: UploadFile) -> str:
    return PurePath(file.filename or "").name


def _format(file: UploadFile) -> Format:
    known = BY_SUFFIX.get(PurePath(file.filename or "").suffix.lower())
    if known is None:
        raise Invalid(
            _("The name of the file must end in .json, .jsonl, .csv, .parquet or .zip."),
            field="file",
        )
    return known


def _pasted(posted: FormData) -> list[Row]:
    lines = text(posted, "lines").splitlines()
    if not any(line.strip() for line in lines):
        raise Invalid(_("Choose a file, or paste prompts, one a line."), field="file")
    return [Row(n, {"prompt": line}) for n, line in enumerate(lines, 1) if line.strip()]


def _result(outcome: Any, refused: uuid.UUID | None, how: Choice) -> dict[str, Any]:
    title = outcome.shape.title
    return {**outcome.view(), "pairs": how.pairs, "title": title, "refused": refused}


@router.get("/projects/{project_id}/import/kept/{kept_id}")
def look_at(
    request: Request, project_id: uuid.UUID, kept_id: uuid.UUID, actor: PageActor, db: Db
) -> HTMLResponse:
    """What a kept file would come to as the query says; nothing is stored."""
    project, kept = _kept(db, actor, project_id, kept_id)
    pairs, format = kept.kind == "pairs", cast("Format", kept.format)
    with actions.opened(kept) as file:
        try:
            columns = looking.columns(file, format, pairs=pairs)
        except Problem as problem:
            return _import(request, db, actor, project, error=problem.detail, status=problem.status)
        how, found, error = Choice(pairs), None, None
        try:
            how = Choice.of(request.query_params, pairs=pairs)
            found = looking.look(db, project, file, format, how)
        except Problem as problem:
            error = problem.detail
    return _look(request, db, actor, project, kept, how, columns, found, error)


def _kept(
    db: Session, actor: Actor, project_id: uuid.UUID, kept_id: uuid.UUID
) -> tuple[Project, KeptFile]:
    project = project_for(db, actor, project_id, "manage")
    kept = actions.find(db, project.id, actor.person.id, kept_id)
    if kept.kind == "refused":
        raise NotFound(_("This file is no import."))
    return project, kept


def _look(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    kept: KeptFile,
    how: Choice,
    columns: list[str],
    found: Look | None,
    error: str | None,
) -> HTMLResponse:
    fields = mapping.PAIR_FIELDS if how.pairs else mapping.PROMPT_FIELDS
    return render(
        request,
        "projects/look.html",
        422 if error else 200,
        **shared(db, actor, project, "prompts"),
        kept=kept,
        how=how,
        columns=columns,
        fields=[name for name in fields if name != "explanation"],
        shapes=[(shape.name, shape.title) for shape in (shapes.OWN, *shapes.OTHERS)],
        look=found,
        most=looking.LOOKED_AT,
        error=error,
    )


@router.post("/projects/{project_id}/import/kept/{kept_id}")
def import_kept(
    request: Request,
    project_id: uuid.UUID,
    kept_id: uuid.UUID,
    actor: PageActor,
    posted: Posted,
    db: Db,
) -> HTMLResponse:
    """Import a kept file as the form says, and say what came of it."""
    project, kept = _kept(db, actor, project_id, kept_id)
    try:
        how = Choice.of(texts(posted), pairs=kept.kind == "pairs")
        with actions.opened(kept) as file:
            given = how.rows(file, cast("Format", kept.format))
            stored = looking.store(db, project, given, how, file=kept.name, by=actor.person.id)
    except Problem as problem:
        db.rollback()
        return _import(request, db, actor, project, error=problem.detail, status=problem.status)
    return _import(request, db, actor, project, result=_result(*stored, how))


@router.get("/projects/{project_id}/import/refused/{kept_id}")
def refused_lines(
    project_id: uuid.UUID, kept_id: uuid.UUID, actor: PageActor, db: Db
) -> StreamingResponse:
    """What an import of one's own refused: line, reason and original, as JSON Lines."""
    project = project_for(db, actor, project_id, "manage")
    kept = actions.find(db, project.id, actor.person.id, kept_id)
    return StreamingResponse(
        actions.pieces(kept),
        media_type="application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="refused-{kept.id}.jsonl"'},
    )


def _import(
    request: Request,
    db: Session,
    actor: Actor,
    project: Project,
    *,
    result: dict[str, Any] | None = None,
    error: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    context = shared(db, actor, project, "prompts")
    return render(
        request,
        "projects/import.html",
        status,
        result=result,
        error=error,
        shapes=[shape.title for shape in shapes.OTHERS],
        **context,
    )
