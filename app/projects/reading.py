"""Rows out of JSON Lines, CSV and Parquet: one at a time, in bounded memory, each with its line.

A line that cannot be read becomes a :class:`Rejected` and the others go on; a file that is not
what it says, or lacks a column, is refused as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import IO, Literal

import orjson

from app import storable
from app.errors import Invalid, TooLarge
from app.language import _
from app.projects.mapping import AS_IT_IS, OPTIONAL, Named
from app.projects.row import LONGEST_LINE, Columns, Rejected, Row
from app.projects.tables import parquet_rows

Format = Literal["jsonl", "csv", "parquet", "array", "zip"]
LARGEST_ARRAY = 256 * 1024 * 1024


def rows(
    file: IO[bytes], format: Format, columns: Columns, mapping: Named = AS_IT_IS
) -> Iterator[Row | Rejected]:
    """The rows of one file (of a zip: :mod:`app.projects.datasets`), under our names where a
    mapping says so.

    Raises:
        Invalid: the file as a whole is not what it says.
    """
    if format == "jsonl":
        found = _jsonl(file)
    elif format == "array":
        found = _array(file)
    elif format == "csv":
        found = _csv(file, columns, mapping)
    else:
        assert format == "parquet"
        found = parquet_rows(file, columns, mapping)
    return mapping.over(found) if mapping else found


def _jsonl(file: IO[bytes]) -> Iterator[Row | Rejected]:
    line = 0
    while raw := file.readline(LONGEST_LINE):
        line += 1
        if not raw.endswith(b"\n") and len(raw) == LONGEST_LINE:
            _skip_line(file)
            yield Rejected(line, f"is longer than {LONGEST_LINE:,} bytes")
            continue
        raw = (raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw).strip()
        if raw:
            yield _object(line, raw)


def _array(file: IO[bytes]) -> Iterator[Row | Rejected]:
    """The items of one JSON array, which is read as a whole; ``line`` counts them from 1."""
    raw = file.read(LARGEST_ARRAY + 1)
    if len(raw) > LARGEST_ARRAY:
        raise TooLarge(
            _(
                "A JSON array of more than %(largest_array)s bytes is not taken; send its "
                "items as .jsonl, which is read line by line.",
                largest_array=LARGEST_ARRAY,
            )
        )
    try:
        items = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        why = _why_not_json(raw, error)
        raise Invalid(_("The file %(why)s", why=why), field="file") from None
    if not isinstance(items, list):
        raise Invalid(_("The file is no JSON array of objects."), field="file")
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield Row(number, item)
        else:
            yield Rejected(number, "is no JSON object", item)


def _skip_line(file: IO[bytes]) -> None:
    while (raw := file.readline(LONGEST_LINE)) and not raw.endswith(b"\n"):
        pass


def _object(line: int, raw: bytes) -> Row | Rejected:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Rejected(line, _why_not_json(raw, error), raw.decode(errors="backslashreplace"))
    if not isinstance(value, dict):
        return Rejected(line, "is no JSON object", value)
    return Row(line, value)


def _why_not_json(raw: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        # The standard library takes lone surrogates, so it can say that there is one
        storable.check(json.loads(raw.decode()))
    except UnicodeDecodeError:
        return "is not valid UTF-8"
    except json.JSONDecodeError as broken:
        return f"is no valid JSON: {broken.msg} (column {broken.colno})"
    except (ValueError, RecursionError) as other:
        return str(other)
    return f"is no valid JSON: {error.msg}"


def _csv(file: IO[bytes], columns: Columns, mapping: Named) -> Iterator[Row | Rejected]:
    csv.field_size_limit(LONGEST_LINE)
    # Bytes that are no UTF-8 become lone surrogates, which reject their own row and no other
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
        named = mapping.header(header)
        columns.fitting(named).check(named)
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            if cells:
                yield _cells(line, header, cells)
    except csv.Error as error:
        yield Rejected(reader.line_num, f"is no valid CSV, nothing behind it was read: {error}")
    finally:
        text.detach()


def _cells(line: int, header: Sequence[str], cells: Sequence[str]) -> Row | Rejected:
    if len(cells) != len(header):
        why = f"has {len(cells)} cells, the header has {len(header)}"
        return Rejected(line, why, list(cells))
    named = dict(zip(header, cells, strict=True))
    if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
        return Rejected(line, "is not valid UTF-8", named)
    # An empty cell of an optional column is one that was not given
    return Row(line, {k: v for k, v in named.items() if v or k not in OPTIONAL})
