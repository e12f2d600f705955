"""Lists a page at a time: ``{"items", "next"}`` behind an opaque cursor."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import Invalid
from app.language import _

CURSOR: dict[str, Any] = {"pattern": "^[A-Za-z0-9_-]{22}$"}
"""For who reads the schema; what is wrong with a cursor is told in words."""


def encode(id: uuid.UUID) -> str:
    """The cursor behind the item with this id."""
    return base64.urlsafe_b64encode(id.bytes).decode().rstrip("=")


def decode(cursor: str) -> uuid.UUID:
    """The id that a cursor stands for.

    Raises:
        Invalid: it is none of ours.
    """
    try:
        return uuid.UUID(bytes=base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", True))
    except (ValueError, binascii.Error):
        raise Invalid(
            _("cursor: not a cursor of this list; send `next` of the page before as it came."),
            field="cursor",
        ) from None


@dataclass(frozen=True)
class Page:
    """Which part of a list was asked for: at most ``limit`` items behind ``after``."""

    limit: int = 100
    after: uuid.UUID | None = None

    def of(
        self,
        session: Session,
        query: Select[*tuple[Any, ...]],
        key: InstrumentedAttribute[uuid.UUID],
        view: Callable[[Any], Any],
    ) -> dict[str, Any]:
        """This page of ``query``, oldest first by ``key``, each row as ``view`` shows it.

        Args:
            query: selects one entity, or several columns where ``view`` takes a row.
            key: the time-ordered id of the list, among the columns of the first entity.
        """
        if self.after is not None:
            query = query.where(key > self.after)
        result = session.execute(query.order_by(key).add_columns(key).limit(self.limit + 1))
        rows = [tuple(row) for row in result]
        more = len(rows) > self.limit
        rows = rows[: self.limit]
        items = [view(row[0] if len(row) == 2 else row[:-1]) for row in rows]
        return {"items": items, "next": encode(rows[-1][-1]) if more else None}


def _page(
    limit: Annotated[int, Query(ge=1, le=500, description="Items a page.")] = 100,
    cursor: Annotated[
        str | None, Query(description="`next` of the page before.", json_schema_extra=CURSOR)
    ] = None,
) -> Page:
    return Page(limit, None if cursor is None else decode(cursor))


Paged = Annotated[Page, Depends(_page)]
