"""What a file is read as: rows with their lines, lines that cannot be taken, columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import Invalid
from app.language import _

LONGEST_LINE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """A row that could be read; ``line`` counts from 1 (CSV: the header is line 1)."""

    line: int
    fields: dict[str, Any]
    original: Any = None  # the fields as the file has them, where ours have other names


@dataclass(frozen=True)
class Rejected:
    """A line that cannot be taken, and why; ``original``: what stood there, if it can be told."""

    line: int
    reason: str
    original: Any = None

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {"line": self.line, "reason": self.reason}


@dataclass(frozen=True)
class Columns:
    """What a file has to have, and what it may have; ``instead``: other sets that do as well.

    ``everything``: read whatever is there.
    """

    required: Sequence[str]
    optional: Sequence[str]
    instead: Sequence[Columns] = ()
    everything: bool = False

    def fitting(self, header: Sequence[str]) -> Columns:
        """The first set that ``header`` has the required columns of; else this one."""
        sets = (self, *self.instead)
        return next((one for one in sets if all(n in header for n in one.required)), self)

    def has(self, names: Collection[str]) -> bool:
        """Whether all of ``names`` are among them."""
        return {*self.required, *self.optional}.issuperset(names)

    def check(self, header: Sequence[str]) -> None:
        """Raise :class:`Invalid` where a required column is not in ``header``."""
        missing = [name for name in self.required if name not in header]
        if missing:
            raise Invalid(
                _(
                    "The file lacks the column %(missing)s. Expected: %(required)s and, if wanted, "
                    "%(optional)s.",
                    missing=", ".join(missing),
                    required=", ".join(self.required),
                    optional=", ".join(self.optional),
                ),
                field="file",
            )
