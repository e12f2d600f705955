"""Rows of labels as JSON Lines, CSV and Parquet, a piece at a time."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

ROWS_IN_GROUP = 10_000
# A cell that starts so is a formula to a spreadsheet
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """JSON Lines."""
    return (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def array(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """One JSON array, a row a line."""
    between = b"[\n"
    for row in rows:
        yield between + orjson.dumps(row)
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row for tables: what is no single value becomes JSON."""
    return {
        name: orjson.dumps(value).decode() if isinstance(value, list | dict) else value
        for name, value in row.items()
    }


def _csv_cell(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _csv(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    return table(rows, COLUMNS)


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> Iterator[bytes]:
    """CSV with a header; a cell that a spreadsheet would take for a formula is made none."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(value) for value in _flat(row).values()])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


COLUMNS = (
    "id", "pair", "external_id", "prompt", "completion_a", "completion_b", "finished_a",
    "finished_b", "tokens_prompt", "tokens_a", "tokens_b", "logp_a", "logp_b", "ref_logp_a",
    "ref_logp_b", "choice", "chosen", "left_is", "strength", "rationale", "p_left", "judge",
    "flags", "reason", "answers",
    "annotator", "reliability", "round", "round_number", "policy", "audit", "margin", "entropy",
    "late", "recorded", "seconds", "created_at",
)  # fmt: skip
_NOT_TEXT = {
    "finished_a": "bool",
    "finished_b": "bool",
    "audit": "bool",
    "late": "bool",
    "recorded": "bool",
    "strength": "int32",
    "round_number": "int32",
    "p_left": "float64",
    **dict.fromkeys(("logp_a", "logp_b", "ref_logp_a", "ref_logp_b"), "float64"),
    "margin": "float64",
    "entropy": "float64",
    "seconds": "float64",
    "reliability": "float64",
}


class _Sink(io.RawIOBase):
    """Takes what a Parquet writer writes, and gives it on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def tell(self) -> int:
        return self._at

    def taken(self) -> bytes:
        """What came since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _parquet(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.type_for_alias(_NOT_TEXT.get(name, "string")) for name in COLUMNS}
    schema = pa.schema({**types, "created_at": pa.timestamp("us", "UTC")})
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _groups(map(_flat, rows), ROWS_IN_GROUP):
            writer.write_table(pa.Table.from_pylist(group, schema))
            yield sink.taken()
    yield sink.taken()


def _groups(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


WRITERS: dict[str, Callable[[Iterable[dict[str, Any]]], Iterator[bytes]]] = {
    "jsonl": lines,
    "csv": _csv,
    "parquet": _parquet,
}
