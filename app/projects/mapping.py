"""Which column of a file holds which of our fields, where its own names do not say so.

``{"prompt": "question", "completion_a": "answers.0.text"}``: ours to theirs. A dotted name leads
into objects and lists, unless a column is called so itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from app import storable
from app.errors import Invalid
from app.language import _
from app.projects.row import Columns, Rejected, Row

PAIR_FIELDS = (
    "prompt",
    "completion_a",
    "completion_b",
    "chosen",
    "rejected",
    "label",
    "external_id",
    "gold",
    "answer",
    "explanation",
)
PROMPT_FIELDS = ("prompt", "split", "external_id")
OPTIONAL = frozenset({"label", "external_id", "split", "gold", "answer", "explanation"})
TEXTS = frozenset({"prompt", "completion_a", "completion_b", "chosen", "rejected"})
"""Those that decide which shape a mapped file has."""
_LONGEST_NAME = 1_000
_MISSING = object()


@dataclass(frozen=True)
class Named:
    """Our field's name to the file's column; empty: the file's names are ours."""

    columns: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.columns)

    @property
    def sources(self) -> set[str]:
        """The top-level columns that are read under another name."""
        return {part for name in self.columns.values() for part in (name, name.split(".")[0])}

    def header(self, names: Sequence[str]) -> list[str]:
        """The names of columns as they are once mapped.

        Raises:
            Invalid: a mapped column is not there.
        """
        there = set(names)
        for ours, name in self.columns.items():
            if name not in there and name.split(".")[0] not in there:
                raise Invalid(
                    _(
                        "mapping: %(ours)s is to be read from %(name)s, and the file has no such "
                        "column. It has: %(names)s.",
                        ours=ours,
                        name=name,
                        names=", ".join(names[:50]),
                    ),
                    field="mapping",
                )
        gone = self.sources
        return [*self.columns, *(n for n in names if n not in gone and n not in self.columns)]

    def wanted(self, names: Sequence[str], columns: Columns) -> list[str]:
        """Those columns of a file that are worth reading."""
        known = {*columns.required, *columns.optional, *self.sources}
        return [name for name in names if columns.everything or name in known]

    def read(self, row: Row) -> Row:
        """The row under our names; what stood in the file is kept as its original."""
        gone = self.sources
        fields = {n: v for n, v in row.fields.items() if n not in gone and n not in self.columns}
        for ours, name in self.columns.items():
            value = _at(row.fields, name)
            if value is not _MISSING and not (ours in OPTIONAL and value == ""):
                fields[ours] = value
        return replace(row, fields=fields, original=row.fields)

    def over(self, rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
        """All rows under our names."""
        return (self.read(row) if isinstance(row, Row) else row for row in rows)


AS_IT_IS = Named()


def _at(fields: Any, name: str) -> Any:
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def named(given: Any, fields: Sequence[str]) -> Named:
    """Check a mapping: an object of our fields to names of columns, or the JSON of one.

    Raises:
        Invalid: naming what is wrong in it.
    """
    if given in (None, "", {}):
        return AS_IT_IS
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise Invalid(
                _("mapping: is no valid JSON: %(msg)s", msg=error.msg), field="mapping"
            ) from None
    if not isinstance(given, dict):
        raise Invalid(_('mapping: must be an object, {"prompt": "question"}'), field="mapping")
    for ours, name in given.items():
        if ours not in fields:
            shown = ours.encode(errors="replace").decode()
            raise Invalid(
                _(
                    "mapping: %(shown)s is no field of ours; there are %(fields)s",
                    shown=shown,
                    fields=", ".join(fields),
                ),
                field="mapping",
            )
        if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
            raise Invalid(
                _("mapping: %(ours)s must be the name of a column", ours=ours), field="mapping"
            )
        if storable.fault(name):
            raise Invalid(
                _("mapping: %(ours)s %(fault)s", ours=ours, fault=storable.fault(name)),
                field="mapping",
            )
    return Named(dict(given))


def from_words(words: Sequence[str], fields: Sequence[str]) -> Named:
    """The mapping of ``["prompt=question", ...]``.

    Raises:
        Invalid: naming the word that is none.
    """
    found: dict[str, str] = {}
    for word in words:
        ours, between, name = word.partition("=")
        if not between or ours in found:
            raise Invalid(
                _("mapping: %(word)s is not OURS=THEIRS, each of ours once", word=repr(word))
            )
        found[ours] = name
    return named(found, fields)
