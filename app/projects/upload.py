"""What was sent to an import: JSON, or a file as multipart or as the body itself."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import IO, Annotated, Any, Literal

import orjson
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.database import transaction
from app.errors import Invalid, TooLarge
from app.language import _
from app.people.access import current_actor, project_for
from app.projects.reading import Format
from app.turns import in_turn

LARGEST_JSON = 256 * 1024 * 1024
_IN_MEMORY = 1024 * 1024

BY_SUFFIX: dict[str, Format] = {
    ".json": "array",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".zip": "zip",
}
_BY_TYPE: dict[str, Format | Literal["json"]] = {
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/jsonlines": "jsonl",
    "application/json-lines": "jsonl",
    "application/x-jsonlines": "jsonl",
    "application/x-jsonl": "jsonl",
    "application/ndjson": "jsonl",
    "application/x-ndjson": "jsonl",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
    "application/zip": "zip",
    "application/x-zip-compressed": "zip",
}
_EXPECTED = (
    "Send JSON (application/json), or a file ending in .json, .jsonl, .csv, .parquet or .zip as "
    "multipart form data, or its content as the body with the type application/jsonl, text/csv, "
    "application/vnd.apache.parquet or application/zip."
)


@dataclass(frozen=True)
class Upload:
    """A body on disk or, while small, in memory; ``format`` says how to read it."""

    file: IO[bytes]
    format: Format | Literal["json"]
    name: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            TooLarge: more than what is taken as one JSON document.
            Invalid: it is no JSON.
        """
        size = self.file.seek(0, 2)
        self.file.seek(0)
        if size > LARGEST_JSON:
            raise TooLarge(
                _(
                    "One JSON document of more than %(largest_json)s bytes is not taken; send a "
                    ".jsonl or .parquet file, which is read line by line.",
                    largest_json=LARGEST_JSON,
                )
            )
        return _loads(self.file.read())


def _loads(raw: bytes) -> Any:
    import json

    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            # Takes lone surrogates, so that the field that holds one can be named
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise Invalid(
                _("The body is no valid JSON: %(msg)s", msg=error.msg), field="body"
            ) from None


def _admit(request: Request, project_id: uuid.UUID) -> None:
    """Refuse who may not import before a byte is read; no connection is held while reading."""
    with transaction() as session:
        project_for(session, current_actor(request, session), project_id, "manage")


async def _received(request: Request, project_id: uuid.UUID) -> AsyncIterator[Upload]:
    await in_turn(_admit, request, project_id)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=20) as form:
            parts = [part for part in form.values() if isinstance(part, UploadFile)]
            if not parts:
                raise Invalid(
                    _("There is no file in the form. %(expected)s", expected=_EXPECTED),
                    field="file",
                )
            name = PurePath(parts[0].filename or "").name
            if "Idempotency-Key" in request.headers:
                request.state.file_digest = await run_in_threadpool(_digest, parts[0].file)
            fields = {name: text for name, text in form.items() if isinstance(text, str)}
            yield Upload(parts[0].file, _format_of_part(parts[0]), name, fields)
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        async for chunk in request.stream():
            await run_in_threadpool(file.write, chunk)
        file.seek(0)
        yield Upload(file, _BY_TYPE.get(kind) or _sniffed(file))


def _digest(file: IO[bytes]) -> str:
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return found


def _format_of_part(part: UploadFile) -> Format:
    by_suffix = BY_SUFFIX.get(PurePath(part.filename or "").suffix.lower())
    by_type = _BY_TYPE.get((part.content_type or "").partition(";")[0].strip().lower())
    found = by_suffix or by_type
    if found is None or found == "json":
        raise Invalid(
            _(
                "The name of the file does not end in .json, .jsonl, .csv, .parquet or .zip. "
                "%(expected)s",
                expected=_EXPECTED,
            ),
            field="file",
        )
    return found


def _sniffed(file: IO[bytes]) -> Format:
    """The format of a body whose type says nothing, as `curl --data-binary` sends it."""
    file.seek(0)
    head = file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"{"):
        return "jsonl"
    raise Invalid(
        _("The type of the body is not known. %(expected)s", expected=_EXPECTED),
        field="Content-Type",
    )


Received = Annotated[Upload, Depends(_received, scope="function")]
