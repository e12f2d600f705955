"""What must hold of a project's rows after every step, whatever was done and whoever was killed."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.database import transaction
from tests.faults.round_world import Book

CLOSED = ("done", "cancelled")
_CLAIMS = text("SELECT id, pair_id, slot, person_id, state FROM claims")
_PREFERENCES = text("SELECT id, version, choice, claim_id, deleted_at FROM preferences")
_HISTORY = text("SELECT preference_id, version, choice FROM preference_versions")
_FROZEN = text(
    """
    SELECT t.round_id, t.preference_id, t.version, p.version AS now, p.deleted_at
    FROM training_labels t JOIN preferences p ON p.id = t.preference_id
    """
)
_ROUNDS = text(
    """
    SELECT r.*,
        (SELECT count(*) FROM pairs WHERE round_id = r.id AND state = 'open') AS open,
        (SELECT count(*) FROM pairs WHERE round_id = r.id AND state = 'answered') AS full,
        (SELECT count(*) FROM runs WHERE round_id = r.id AND kind = 'train') AS trainings,
        (SELECT count(*) FROM policies WHERE round_id = r.id) AS policies,
        (SELECT count(*) FROM events WHERE round_id = r.id AND kind = 'policy.published')
            AS published,
        (SELECT count(*) FROM events WHERE round_id = r.id AND kind = 'batch.complete') AS complete
    FROM rounds r ORDER BY number
    """
)
_RUNS = text(
    "SELECT id, kind, state, attempt, jsonb_array_length(input -> 'prompts') AS size FROM runs"
)
_WRITTEN = text(
    """
    SELECT split_part(completion_a, ' ', 1) AS mark, count(*) FROM pairs
    WHERE policy_id IS NOT NULL GROUP BY 1
    """
)
_PATHS = text(
    "SELECT r.id, p.path FROM policies p JOIN runs r USING (round_id) WHERE r.kind = 'train'"
)


def check(book: Book) -> None:
    """Compare every row with what was told.

    Raises:
        AssertionError: a promise is broken; says which.
    """
    with transaction() as s:
        _labels(s, book)
        _slots(s)
        _rounds(s)
        _trainings(s, book)
        _workers(s, book)


def _labels(s: Session, book: Book) -> None:
    rows = s.execute(_PREFERENCES).all()
    there = {row.id: (row.version, row.choice) for row in rows if row.deleted_at is None}
    assert there == book.standing(), "labels that were told, and no others, are there once"
    history = {(r.preference_id, r.version): r.choice for r in s.execute(_HISTORY) if r.choice}
    told = {(id, v): choice for id, said in book.said.items() for v, choice in said.items()}
    assert history == told, "the history has every value that was told, and no other"
    claims = {row.id: row.state for row in s.execute(_CLAIMS)}
    filled = {id for id, state in claims.items() if state in ("answered", "skipped")}
    assert filled == {row.claim_id for row in rows if row.deleted_at is None}


def _slots(s: Session) -> None:
    rows = s.execute(_CLAIMS).all()
    held = Counter((c.pair_id, c.slot) for c in rows if c.state in ("live", "answered"))
    assert not [slot for slot, count in held.items() if count > 1], "a slot is held twice"
    hands = ("live", "answered", "skipped")
    persons = Counter((c.pair_id, c.person_id) for c in rows if c.state in hands)
    assert not [who for who, count in persons.items() if count > 1], "a pair is held twice by one"


def _rounds(s: Session) -> None:
    rows = s.execute(_ROUNDS).all()
    assert sum(row.state not in CLOSED for row in rows) <= 1, "two rounds are open"
    for row in rows:
        said = f"round {row.number}, {row.state}: {row.answered} of {row.needed} answered"
        assert row.policies == row.published <= 1, f"{said}: {row.policies} policies"
        assert row.trainings <= row.complete <= 1, f"{said}: {row.trainings} trainings"
        if row.state == "labelling":
            assert row.answered == row.full, f"{said}, and {row.full} pairs have their answers"
            assert row.answered < row.needed <= row.full + row.open, f"{said}, {row.open} open"
        if row.state == "evaluating" or (row.state == "done" and row.trainings):
            assert row.policies == 1, f"{said}: it has no policy"
        if row.state == "done" and not row.trainings:
            assert row.policy_out_id == row.policy_in_id, said


def _trainings(s: Session, book: Book) -> None:
    found: dict[uuid.UUID, set[tuple[uuid.UUID, int]]] = {}
    for row in s.execute(_FROZEN):
        assert (row.version, None) == (row.now, row.deleted_at), "a label that is fixed has changed"
        found.setdefault(row.round_id, set()).add((row.preference_id, row.version))
    for round_id, labels in found.items():
        before = book.frozen.setdefault(round_id, frozenset(labels))
        assert labels == before, "a round's labels were fixed twice"


def _workers(s: Session, book: Book) -> None:
    rows: list[Any] = list(s.execute(_RUNS))
    done = {run.id: run.attempt for run in rows if run.state == "done"}
    assert done == book.published, "what is done was published once, by the attempt that held it"
    written = {row.mark: row.count for row in s.execute(_WRITTEN)}
    shards = {f"{r.id}/{done[r.id]}": r.size for r in rows if r.kind == "generate" and r.id in done}
    assert written == shards, "each shard was written once, by one attempt"
    for run_id, path in s.execute(_PATHS):
        assert path.endswith(f"/train-{done[run_id]}"), "a late worker's policy is in the table"
