"""What an import would do, done and taken back: the same counts and reasons, nothing stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy.orm import Session

from app.projects.bulk import NewPair, NewPrompt
from app.projects.imports import Outcome
from app.projects.row import Rejected, Row

LONGEST_SHOWN = 2_000


def dry_run(session: Session, store: Callable[[], Outcome]) -> Outcome:
    """Let ``store`` import, and take back all that it wrote.

    Raises:
        Invalid: as the import itself.
    """
    nested = session.begin_nested()
    try:
        return store()
    finally:
        nested.rollback()


class Beginning:
    """The first rows of a file; ``more`` says afterwards whether there were others."""

    def __init__(self, rows: Iterable[Row | Rejected], most: int) -> None:
        self._rows, self._most = iter(rows), most
        self.more = False

    def __iter__(self) -> Iterator[Row | Rejected]:
        yield from itertools.islice(self._rows, self._most)
        self.more = next(self._rows, None) is not None


def view(outcome: Outcome) -> dict[str, Any]:
    """The answer of a dry run: an import's own, the file's columns, its first rows as stored."""
    return {
        **outcome.view(),
        "dry_run": True,
        "columns": [name.encode(errors="replace").decode() for name in outcome.columns],
        "first": [row_view(new) for new in outcome.first],
    }


def row_view(new: NewPrompt | NewPair) -> dict[str, Any]:
    """A row as it would be stored, long texts cut."""
    if isinstance(new, NewPrompt):
        return {"prompt": _cut(new.content), "split": new.split, "external_id": new.external_id}
    row = {
        "prompt": _cut(new.prompt),
        "completion_a": _cut(new.completion_a),
        "completion_b": _cut(new.completion_b),
        "external_id": new.external_id,
    }
    if new.label is not None:
        row["label"] = new.label.said
    return row if new.gold is None else {**row, "gold": True, "answer": new.gold}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
    return [{**turn, "content": _cut(turn["content"])} for turn in value[-20:]]
