"""Storing prompts and pairs by the thousand: copied in, then inserted where they are new."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import new_id
from app.projects import content


@dataclass(frozen=True)
class NewPrompt:
    """A prompt that was checked."""

    content: content.Content
    split: str = "train"
    external_id: str | None = None

    @property
    def size(self) -> int:
        """Its length in characters."""
        return content.length(self.content)


@dataclass(frozen=True)
class NewPair:
    """A pair that was checked."""

    prompt: content.Content
    completion_a: str
    completion_b: str
    external_id: str | None = None

    @property
    def size(self) -> int:
        """Its length in characters."""
        return content.length(self.prompt) + len(self.completion_a) + len(self.completion_b)


_INCOMING = {
    "incoming_prompts": {
        "id": "uuid",
        "content": "jsonb",
        "hash": "text",
        "split": "text",
        "external_id": "text",
    },
    "incoming_pairs": {
        "id": "uuid",
        "prompt": "text",
        "external_id": "text",
        "hash": "text",
        "a": "text",
        "b": "text",
    },
}

_INSERT_PROMPTS = text(
    """
    INSERT INTO prompts (id, project_id, content, content_hash, split, external_id)
    SELECT id, :project, content, hash, split, external_id FROM incoming_prompts ORDER BY id
    ON CONFLICT (project_id, content_hash) DO NOTHING
    """
)

_INSERT_PAIRS = text(
    """
    INSERT INTO pairs (id, project_id, prompt_id, external_id, content_hash, completion_a,
                       completion_b, finished_a, finished_b, state, slots, audit)
    SELECT new.id, :project, prompts.id, new.external_id, new.hash, new.a, new.b, true, true,
           CASE WHEN new.a = new.b THEN 'equal' ELSE 'pool' END, 1, false
    FROM incoming_pairs AS new
    JOIN prompts ON prompts.project_id = :project AND prompts.content_hash = new.prompt
    ORDER BY new.id
    ON CONFLICT (project_id, content_hash) DO NOTHING
    """
)


def store_prompts(session: Session, project_id: uuid.UUID, batch: Sequence[NewPrompt]) -> int:
    """Insert the prompts that the project does not have, the first of equal ones; how many."""
    rows = (
        (id, orjson.dumps(new.content).decode(), prompt_hash, new.split, new.external_id)
        for id, prompt_hash, new in zip(_ids(len(batch)), _hashes(batch), batch, strict=True)
    )
    _copy(session, "incoming_prompts", rows)
    return session.connection().execute(_INSERT_PROMPTS, {"project": project_id}).rowcount


def store_pairs(session: Session, project_id: uuid.UUID, batch: Sequence[NewPair]) -> int:
    """Insert the pairs that the project does not have, with their prompts; how many pairs."""
    store_prompts(session, project_id, [NewPrompt(new.prompt) for new in batch])
    rows = (
        (
            id,
            prompt_hash,
            new.external_id,
            content.pair_hash(prompt_hash, new.completion_a, new.completion_b),
            new.completion_a,
            new.completion_b,
        )
        for id, prompt_hash, new in zip(_ids(len(batch)), _hashes(batch), batch, strict=True)
    )
    _copy(session, "incoming_pairs", rows)
    return session.connection().execute(_INSERT_PAIRS, {"project": project_id}).rowcount


def _hashes(batch: Sequence[NewPrompt] | Sequence[NewPair]) -> list[str]:
    return [
        content.prompt_hash(new.content if isinstance(new, NewPrompt) else new.prompt)
        for new in batch
    ]


def _ids(count: int) -> list[uuid.UUID]:
    # One drawn and the rest counted on: in order, and twenty times faster than drawing each
    first = new_id().int
    return [uuid.UUID(int=first + step) for step in range(count)]


def _copy(session: Session, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    columns = _INCOMING[table]
    declared = ", ".join(f"{name} {type}" for name, type in columns.items())
    connection = session.connection()
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {table} ({declared}) ON COMMIT DROP"
    )
    connection.exec_driver_sql(f"TRUNCATE {table}")
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
