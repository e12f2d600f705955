"""What a person chose of a file, what an import by that would do, and doing it."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Self

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.imports import actions
from app.language import _
from app.projects import datasets, imports, mapping, preview
from app.projects.imports import Outcome
from app.projects.mapping import AS_IT_IS, Named
from app.projects.models import Project
from app.projects.preview import Beginning
from app.projects.reading import Format
from app.projects.refused import RefusedLines
from app.projects.row import Columns, Rejected, Row
from app.settings import get_settings

LOOKED_AT = 10_000
"""Rows that a look reads; the import itself reads all."""
MOST_COLUMNS = 100
_ANY = Columns([], [], everything=True)
_PREFIX = "map."
Rows = Iterable[Row | Rejected]


@dataclass(frozen=True)
class Choice:
    """How a file is to be read and stored."""

    pairs: bool
    split: str = "train"
    labels: bool = False
    gold: bool = False
    shape: str | None = None
    mapping: Named = AS_IT_IS

    @classmethod
    def of(cls, sent: Mapping[str, str], *, pairs: bool) -> Self:
        """From the fields of a form or a query.

        Raises:
            Invalid: naming what cannot be.
        """
        fields = mapping.PAIR_FIELDS if pairs else mapping.PROMPT_FIELDS
        columns = {
            name.removeprefix(_PREFIX): value
            for name, value in sent.items()
            if name.startswith(_PREFIX) and value
        }
        return cls(
            pairs,
            sent.get("split") or "train",
            sent.get("labels") == "on",
            sent.get("gold") == "on",
            sent.get("shape") or None,
            mapping.named(columns, fields),
        )

    @property
    def query(self) -> dict[str, str]:
        """The same as the fields of a query."""
        told = {f"{_PREFIX}{ours}": column for ours, column in self.mapping.columns.items()}
        told |= {"labels": "on"} if self.labels else {}
        told |= {"gold": "on"} if self.gold else {}
        told |= {"shape": self.shape} if self.shape else {}
        return told if self.pairs else {**told, "split": self.split}

    def rows(self, file: IO[bytes], format: Format) -> Rows:
        """The file's rows as chosen."""
        columns = imports.PAIR_COLUMNS if self.pairs else imports.PROMPT_COLUMNS
        return datasets.rows(file, format, columns, self.mapping, pairs=self.pairs)

    def store(
        self,
        session: Session,
        project: Project,
        rows: Rows,
        *,
        file: str = "",
        by: uuid.UUID | None = None,
        refused: RefusedLines | None = None,
    ) -> Outcome:
        """Import them.

        Raises:
            Invalid: the file as a whole cannot be read, or a choice cannot be.
        """
        if not self.pairs:
            if self.split not in ("train", "eval"):
                raise Invalid(_("split: must be train or eval"), field="split")
            return imports.import_prompts(
                session, project, rows, self.split, by=by, refused=refused
            )
        return imports.import_pairs(
            session,
            project,
            rows,
            labels=self.labels,
            gold=self.gold,
            file=file,
            shape=self.shape,
            mapping=self.mapping,
            by=by,
            refused=refused,
        )


@dataclass(frozen=True)
class Look:
    """What the beginning of a file would come to; ``more``: there are further rows."""

    outcome: Outcome
    more: bool
    files: dict[str, Any]

    @property
    def first(self) -> list[dict[str, Any]]:
        """The first rows as they would be stored."""
        return [preview.row_view(new) for new in self.outcome.first]

    @property
    def fields(self) -> list[str]:
        """What these rows have, all together."""
        return list(dict.fromkeys(name for row in self.first for name in row))


def look(session: Session, project: Project, file: IO[bytes], format: Format, how: Choice) -> Look:
    """Import the beginning of a file and take it back.

    Raises:
        Invalid: as the import itself.
    """
    file.seek(0)
    given = how.rows(file, format)
    beginning = Beginning(given, LOOKED_AT)
    outcome = preview.dry_run(session, lambda: how.store(session, project, beginning))
    files = given.view() if isinstance(given, datasets.Dataset) else {}
    return Look(outcome, beginning.more, files)


def columns(file: IO[bytes], format: Format, *, pairs: bool) -> list[str]:
    """The columns in a file's first rows, and what lies in objects of them.

    Raises:
        Invalid: the file as a whole is not what it says.
    """
    file.seek(0)
    rows = datasets.rows(file, format, _ANY, pairs=pairs)
    found: dict[str, None] = {}
    for row in itertools.islice(rows, 20):
        if isinstance(row, Row):
            found |= dict.fromkeys(itertools.islice(_names(row.fields), MOST_COLUMNS))
    return list(itertools.islice(found, MOST_COLUMNS))


def _names(fields: dict[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)


def store(
    session: Session,
    project: Project,
    given: Rows,
    how: Choice,
    *,
    file: str = "",
    by: uuid.UUID,
) -> tuple[Outcome, uuid.UUID | None]:
    """Import rows; what came of it, and the kept file of refused ones where there are any.

    Raises:
        Invalid: the file as a whole cannot be read; nothing is stored then.
    """
    with tempfile.TemporaryFile() as sink:
        refused = RefusedLines(sink, get_settings().max_upload_bytes)
        outcome = how.store(session, project, given, file=file, by=by, refused=refused)
        if not refused.lines:
            return outcome, None
        name = f"{file or 'lines'}-refused.jsonl"
        return outcome, actions.keep(
            project.id, by, sink, kind="refused", name=name, format="jsonl"
        )
