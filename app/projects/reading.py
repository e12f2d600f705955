"""Rows out of JSON Lines, CSV and Parquet: one at a time, in bounded memory, each with its line.

A line that cannot be read becomes a :class:`Rejected` and the others go on; a file that is not
what it says, or lacks a column, is refused as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

import orjson

from app import storable
from app.errors import Invalid, TooLarge

Format = Literal["jsonl", "csv", "parquet", "array"]
LONGEST_LINE = 64 * 1024 * 1024
LARGEST_ARRAY = 256 * 1024 * 1024
_ROWS = 1_000
_LARGEST_CHUNK = 2 * 1024**3
_MOST_VALUES = 50_000_000


@dataclass(frozen=True)
class Row:
    """A row that could be read; ``line`` counts from 1 (CSV: the header is line 1)."""

    line: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A line that cannot be taken, and why."""

    line: int
    reason: str

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {"line": self.line, "reason": self.reason}


@dataclass(frozen=True)
class Columns:
    """What a file has to have, and what it may have; ``instead``: other sets that do as well."""

    required: Sequence[str]
    optional: Sequence[str]
    instead: Sequence[Columns] = ()

    def fitting(self, header: Sequence[str]) -> Columns:
        """The first set that ``header`` has the required columns of; else this one."""
        sets = (self, *self.instead)
        return next((one for one in sets if all(n in header for n in one.required)), self)

    def check(self, header: Sequence[str]) -> None:
        """Raise :class:`Invalid` where a required column is not in ``header``."""
        missing = [name for name in self.required if name not in header]
        if missing:
            raise Invalid(
                f"The file lacks the column {', '.join(missing)}. Expected: "
                f"{', '.join(self.required)} and, if wanted, {', '.join(self.optional)}.",
                field="file",
            )


def rows(file: IO[bytes], format: Format, columns: Columns) -> Iterator[Row | Rejected]:
    """The rows of a file.

    Raises:
        Invalid: the file as a whole is not what it says.
    """
    if format == "jsonl":
        return _jsonl(file)
    if format == "array":
        return _array(file)
    return _csv(file, columns) if format == "csv" else _parquet(file, columns)


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
            f"A JSON array of more than {LARGEST_ARRAY:,} bytes is not taken; "
            "send its items as .jsonl, which is read line by line."
        )
    try:
        items = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        why = _why_not_json(raw, error)
        raise Invalid(f"The file {why}", field="file") from None
    if not isinstance(items, list):
        raise Invalid("The file is no JSON array of objects.", field="file")
    for number, item in enumerate(items, 1):
        yield Row(number, item) if isinstance(item, dict) else Rejected(number, "is no JSON object")


def _skip_line(file: IO[bytes]) -> None:
    while (raw := file.readline(LONGEST_LINE)) and not raw.endswith(b"\n"):
        pass


def _object(line: int, raw: bytes) -> Row | Rejected:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Rejected(line, _why_not_json(raw, error))
    if not isinstance(value, dict):
        return Rejected(line, "is no JSON object")
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


def _csv(file: IO[bytes], columns: Columns) -> Iterator[Row | Rejected]:
    csv.field_size_limit(LONGEST_LINE)
    # Bytes that are no UTF-8 become lone surrogates, which reject their own row and no other
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
        columns.fitting(header).check(header)
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
        return Rejected(line, f"has {len(cells)} cells, the header has {len(header)}")
    named = dict(zip(header, cells, strict=True))
    if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
        return Rejected(line, "is not valid UTF-8")
    # An empty cell of an optional column is one that was not given
    return Row(line, {k: v for k, v in named.items() if v or k not in ("split", "external_id")})


def _parquet(file: IO[bytes], columns: Columns) -> Iterator[Row | Rejected]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        names = _leaves(parquet.ParquetFile(file).metadata)
        file.seek(0)
        # A text that is written once and meant a thousand times stays one text in memory
        table = parquet.ParquetFile(file, read_dictionary=names)
        columns = columns.fitting(table.schema_arrow.names)
        columns.check(table.schema_arrow.names)
        wanted = [
            n for n in table.schema_arrow.names if n in (*columns.required, *columns.optional)
        ]
        line = 0
        for batch in table.iter_batches(_ROWS, columns=wanted):
            for fields in _records(batch):
                line += 1
                if fields is None:
                    yield Rejected(line, f"is longer than {LONGEST_LINE:,} bytes")
                else:
                    yield Row(line, {k: v for k, v in fields.items() if v is not None})
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Invalid(f"This is no Parquet file that can be read: {why}", field="file") from None


def _leaves(metadata: Any) -> list[str]:
    """Paths of the columns of texts.

    Raises:
        Invalid: a row group is so large that reading it could take all memory.
    """
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.total_uncompressed_size > _LARGEST_CHUNK or chunk.num_values > _MOST_VALUES:
                raise Invalid(
                    f"Row group {group} is too large: write groups of at most "
                    f"{_LARGEST_CHUNK:,} bytes and {_MOST_VALUES:,} values a column.",
                    field="file",
                )
    columns = [metadata.schema.column(n) for n in range(metadata.num_columns)]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _records(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The batch's rows; None for one that is longer than a line may be."""
    if _bytes_of(batch.to_struct_array()) <= LONGEST_LINE:
        yield from batch.to_pylist()
        return
    for n in range(batch.num_rows):
        row = batch.slice(n, 1)
        small = _bytes_of(row.to_struct_array()) <= LONGEST_LINE
        yield row.to_pylist()[0] if small else None


def _bytes_of(array: Any) -> int:
    """About how many bytes the values would take once each stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_bytes_of(array.field(n)) for n in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _bytes_of(array.flatten()) + 64 * len(array.flatten())
    return int(array.nbytes)
