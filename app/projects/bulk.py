"""Storing prompts and pairs by the thousand: copied in, then inserted where they are new."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ARRAY, String, any_, literal, select, text
from sqlalchemy.orm import Session

from app.database import new_id
from app.projects import content
from app.projects.models import Pair, Prompt
from app.projects.told import Label


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
    """A pair that was checked; ``gold`` is its known answer where it is a gold pair."""

    prompt: content.Content
    completion_a: str
    completion_b: str
    external_id: str | None = None
    label: Label | None = None
    gold: str | None = None
    explanation: str | None = None

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
    "incoming_labels": {
        "id": "uuid",
        "hash": "text",
        "a": "text",
        "said": "text",
        "p_a": "float8",
    },
}

LARGE = 1_000
"""Rows of a batch from which more are likely to come."""

_INSERT_PROMPTS = text(
    """
    INSERT INTO prompts (id, project_id, content, content_hash, split, external_id)
    SELECT id, :project, content, hash, split, external_id
    FROM (SELECT DISTINCT ON (hash) * FROM incoming_prompts ORDER BY hash, id) AS new ORDER BY id
    ON CONFLICT (project_id, content_hash) DO NOTHING
    """
)

# One that was there for a gold pair alone is the project's own from now on.
_CLAIM_PROMPTS = text(
    """
    UPDATE prompts SET gold = false
    FROM incoming_prompts AS new, LATERAL (
        SELECT id FROM prompts
        WHERE project_id = :project AND content_hash = new.hash AND gold OFFSET 0) AS known
    WHERE prompts.id = known.id AND (SELECT has_gold FROM projects WHERE id = :project)
    """
)

# OFFSET 0: one look by the index for each row. A plain join would read all prompts for every batch.
# Which index it is, statistics say: see `_know`.
_INSERT_PAIRS = text(
    """
    INSERT INTO pairs (id, project_id, prompt_id, external_id, content_hash, completion_a,
                       completion_b, finished_a, finished_b, state, slots, audit)
    SELECT new.id, :project, prompts.id, new.external_id, new.hash, new.a, new.b, true, true,
           CASE WHEN new.a = new.b THEN 'equal' ELSE 'pool' END, 1, false
    FROM incoming_pairs AS new, LATERAL (
        SELECT id FROM prompts
        WHERE project_id = :project AND content_hash = new.prompt OFFSET 0) AS prompts
    ORDER BY new.id
    ON CONFLICT (project_id, content_hash) DO NOTHING
    """
)

# Left is what the file calls a; the stored pair may call it b. A pair that waited to be asked
# about has its answer now; one that a round holds keeps its state.
_INSERT_LABELS = text(
    """
    WITH said AS (
        SELECT new.id, pairs.id AS pair_id, new.said, new.p_a,
               CASE WHEN pairs.completion_a = new.a THEN 'a' ELSE 'b' END AS left_is
        FROM incoming_labels AS new, LATERAL (
            SELECT id, completion_a FROM pairs
            WHERE project_id = :project AND content_hash = new.hash AND state <> 'equal'
            OFFSET 0) AS pairs
    ), stored AS (
        INSERT INTO preferences (id, project_id, pair_id, person_id, choice, chosen, left_is,
                                 p_left, version, late, recorded)
        SELECT id, :project, pair_id, :person,
               CASE said WHEN 'a' THEN 'left' WHEN 'b' THEN 'right' ELSE said END,
               CASE said WHEN 'a' THEN left_is
                         WHEN 'b' THEN CASE left_is WHEN 'a' THEN 'b' ELSE 'a' END END,
               left_is, p_a, 1, false, true
        FROM said ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING id, pair_id, choice, chosen, p_left
    ), versions AS (
        INSERT INTO preference_versions (preference_id, version, choice, chosen, p_left)
        SELECT id, 1, choice, chosen, p_left FROM stored
    )
    UPDATE pairs SET state = CASE WHEN state = 'pool' AND round_id IS NULL THEN 'answered'
                                  ELSE state END
    FROM stored WHERE pairs.id = stored.pair_id
    """
)


def store_prompts(session: Session, project_id: uuid.UUID, batch: Sequence[NewPrompt]) -> int:
    """Insert the prompts that the project does not have, the first of equal ones; how many.

    One that was there for a gold pair alone is new: from now on rounds sample it.
    """
    rows = (
        (id, orjson.dumps(new.content).decode(), prompt_hash, new.split, new.external_id)
        for id, prompt_hash, new in zip(_ids(len(batch)), _hashes(batch), batch, strict=True)
    )
    _copy(session, "incoming_prompts", rows)
    values = {"project": project_id}
    claimed = session.connection().execute(_CLAIM_PROMPTS, values).rowcount
    inserted = session.connection().execute(_INSERT_PROMPTS, values).rowcount
    _know(session, "prompts", len(batch))
    return claimed + inserted


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
    inserted = session.connection().execute(_INSERT_PAIRS, {"project": project_id}).rowcount
    _know(session, "pairs", len(batch))
    return inserted


def store_labels(
    session: Session, project_id: uuid.UUID, person_id: uuid.UUID, batch: Sequence[NewPair]
) -> int:
    """Store the labels of pairs that are stored, each once an annotator; how many were new."""
    rows = (
        (
            id,
            content.pair_hash(prompt_hash, new.completion_a, new.completion_b),
            new.completion_a,
            new.label.said,
            new.label.p_a,
        )
        for id, prompt_hash, new in zip(_ids(len(batch)), _hashes(batch), batch, strict=True)
        if new.label is not None
    )
    _copy(session, "incoming_labels", rows)
    values = {"project": project_id, "person": person_id}
    return session.connection().execute(_INSERT_LABELS, values).rowcount


def ids_of(
    session: Session, project_id: uuid.UUID, batch: Sequence[NewPrompt | NewPair]
) -> list[uuid.UUID]:
    """The ids under which prompts or pairs are stored, in the order of ``batch``."""
    hashes = _hashes(batch)
    table: type[Prompt] | type[Pair] = Prompt
    if any(isinstance(new, NewPair) for new in batch):
        table = Pair
        hashes = [
            content.pair_hash(prompt_hash, new.completion_a, new.completion_b)
            for prompt_hash, new in zip(hashes, batch, strict=True)
            if isinstance(new, NewPair)
        ]
    found = session.execute(
        select(table.content_hash, table.id).where(
            table.project_id == project_id,
            table.content_hash == any_(literal(hashes, ARRAY(String))),
        )
    )
    by_hash: dict[str | None, uuid.UUID] = dict(found.all())
    return [by_hash[hash] for hash in hashes]


def _know(session: Session, table: str, rows: int) -> None:
    """Statistics after the first large batch of a session, so that a row is found by its hash.

    While nothing is known of what this transaction brought, an index of the project alone looks as
    good as that of project and hash, and every row then reads all that came before it.
    """
    known = session.info.setdefault("statistics of", set())
    if rows >= LARGE and table not in known:
        session.connection().exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {table}")
        known.add(table)


def _hashes(batch: Sequence[NewPrompt | NewPair]) -> list[str]:
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
