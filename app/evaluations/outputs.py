"""Another model's completions, imported from a file: prompt and completion, a row each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.evaluations import queries
from app.evaluations.models import Output, Outputs
from app.language import _
from app.projects import content, reading
from app.projects.imports import Outcome
from app.projects.models import Project, Prompt
from app.projects.reading import Format
from app.projects.row import Columns, Rejected, Row
from app.rounds.events import record

COLUMNS = Columns(["prompt", "completion"], ["external_id"])
ROWS_AT_ONCE = 1_000
LONGEST_NAME = 200


WHICH_FILES = _("The name of the file must end in .json, .jsonl, .csv or .parquet.")


def rows_of(file: IO[bytes], format: Format) -> Iterable[Row | Rejected]:
    """The rows of a file.

    Raises:
        Invalid: it is no such file, or a zip.
    """
    if format == "zip":
        raise Invalid(WHICH_FILES, field="file")
    return reading.rows(file, format, COLUMNS)


def import_outputs(
    session: Session,
    project: Project,
    name: str,
    rows: Iterable[Row | Rejected],
    by: uuid.UUID | None,
) -> tuple[Outputs, Outcome]:
    """Store what a model answered to prompts that the project has; the first answer counts.

    Raises:
        Invalid: no name, or no row could be taken; nothing is stored then.
        Conflict: the project has outputs of this name.
    """
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise Invalid(
            _("name: between 1 and %(most)s characters.", most=LONGEST_NAME), field="name"
        )
    taken = select(Outputs.id).where(Outputs.project_id == project.id, Outputs.name == name)
    if session.scalar(taken) is not None:
        raise Conflict(_("The project has outputs named %(name)s: choose another name.", name=name))
    outputs = Outputs(project_id=project.id, name=name, created_by=by)
    session.add(outputs)
    session.flush()
    outcome = Outcome()
    read = _read(rows, outcome)
    while batch := list(islice(read, ROWS_AT_ONCE)):
        _store(session, outputs, batch, outcome)
    if not outcome.added:
        if not outcome.rejected:
            raise Invalid(_("There is no completion in it."), field="file")
        first = outcome.rejected[0]
        raise Invalid(
            _(
                "No completion could be taken. Line %(line)s: %(reason)s.",
                line=first.line,
                reason=first.reason,
            ),
            field="file",
        )
    outputs.count = outcome.added
    session.flush()
    record(
        session,
        "outputs.imported",
        project_id=project.id,
        person_id=by,
        outputs=str(outputs.id),
        added=outcome.added,
        rejected=outcome.rejected_total,
    )
    return outputs, outcome


def _read(rows: Iterable[Row | Rejected], outcome: Outcome) -> Iterator[tuple[int, str, str]]:
    """(line, hash of the prompt, completion) of the rows that can be taken."""
    known = {*COLUMNS.required, *COLUMNS.optional}
    for row in rows:
        if isinstance(row, Rejected):
            outcome.reject(row)
            continue
        outcome.ignored |= row.fields.keys() - known
        try:
            prompt, completion = _checked(row.fields)
        except ValueError as error:
            outcome.reject(Rejected(row.line, str(error)))
        else:
            yield row.line, content.prompt_hash(prompt), completion


def _checked(fields: dict[str, Any]) -> tuple[Any, str]:
    checks = (("prompt", content.prompt), ("completion", content.completion))
    found: list[Any] = []
    for name, check in checks:
        if name not in fields:
            raise ValueError(f"{name}: is missing")
        try:
            found.append(check(fields[name]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found[0], found[1]


def _store(
    session: Session, outputs: Outputs, batch: list[tuple[int, str, str]], outcome: Outcome
) -> None:
    wanted = [hashed for _, hashed, _ in batch]
    known: dict[str, uuid.UUID] = dict(
        session.execute(
            select(Prompt.content_hash, Prompt.id).where(
                Prompt.project_id == outputs.project_id,
                Prompt.content_hash.in_(wanted),
                ~Prompt.gold,
            )
        ).all()
    )
    rows: dict[uuid.UUID, str] = {}
    for line, hashed, completion in batch:
        if hashed not in known:
            reason = "prompt: the project has no such prompt; import it first"
            outcome.reject(Rejected(line, reason))
        else:
            rows.setdefault(known[hashed], completion)
    if not rows:
        return
    values = [
        {"outputs_id": outputs.id, "prompt_id": prompt, "completion": text}
        for prompt, text in rows.items()
    ]
    stored = session.scalars(
        insert(Output).on_conflict_do_nothing().returning(Output.prompt_id), values
    ).all()
    outcome.added += len(stored)
    outcome.duplicates += sum(hashed in known for _, hashed, _ in batch) - len(stored)


def remove(session: Session, outputs: Outputs, by: uuid.UUID | None) -> None:
    """Delete imported outputs.

    Raises:
        Conflict: an evaluation compares them.
    """
    if queries.uses_outputs(session, outputs.id):
        raise Conflict(_("An evaluation compares these outputs: they are part of its record."))
    record(
        session,
        "outputs.removed",
        project_id=outputs.project_id,
        person_id=by,
        outputs=str(outputs.id),
    )
    session.delete(outputs)
    session.flush()


def count_of(session: Session, project_id: uuid.UUID) -> int:
    """How many outputs a project has."""
    return session.scalar(select(func.count()).where(Outputs.project_id == project_id)) or 0
