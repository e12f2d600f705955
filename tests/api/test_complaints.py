"""What users of other labelling tools complain about when data goes in and out, a test each."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import jobs
from app.database import transaction
from app.labelling.models import Preference
from app.people.models import Person
from app.projects import export
from app.projects.models import Pair, Project, Prompt
from app.settings import get_settings

JSONL = {"Content-Type": "application/jsonl"}


def pairs(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"P{n}", "completion_a": f"a{n}", "completion_b": f"b{n}", **more}
        for n in range(count)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def count(db: Session, table: Any) -> int:
    db.rollback()
    return db.scalar(select(func.count()).select_from(table)) or 0


def test_an_import_needs_no_worker_and_no_broker(
    cast: Any, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that hangs for ever when no worker runs, and says nothing: doccano #1353, #1969,
    #2063, #2301."""
    monkeypatch.setattr(get_settings(), "redis_url", "redis://127.0.0.1:1/0")
    jobs._broker.cache_clear()
    try:
        answer = cast.owner.post(f"{cast.project}/pairs", content=lines(pairs(3)), headers=JSONL)
    finally:
        jobs._broker.cache_clear()
    assert (answer.status_code, answer.json()["added"]) == (200, 3)
    assert count(db, Pair) == 3


def test_thirteen_thousand_rows_come_in_by_one_call(cast: Any, db: Session) -> None:
    """13 k rows time out, 413 above 10 k: doccano #1292, #1336; label-studio #4549, #5904;
    fiftyone #3278."""
    answer = cast.owner.post(f"{cast.project}/pairs", json={"pairs": pairs(13_000)})
    assert (answer.status_code, answer.json()["added"]) == (200, 13_000)
    assert count(db, Pair) == 13_000


def test_a_body_that_is_too_long_says_how_long_it_may_be(
    cast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413 without a word of what would do: label-studio #4549, #5904."""
    monkeypatch.setattr(get_settings(), "max_upload_bytes", 1_000)
    answer = cast.owner.post(f"{cast.project}/pairs", content=lines(pairs(100)), headers=JSONL)
    assert answer.status_code == 413
    assert "longer than 1,000 bytes; nothing was stored" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["x" * 26 + ".jsonl", "x" * 200 + ".jsonl", "名" * 60 + ".jsonl"])
def test_a_long_name_of_a_file_is_no_obstacle(cast: Any, db: Session, name: str) -> None:
    """A name of 32 characters fails: doccano #2301."""
    rows = [{"prompt": "P", "chosen": "x", "rejected": "y"}]
    url = f"{cast.project}/pairs?labels=true"
    answer = cast.owner.post(url, files={"file": (name, lines(rows))})
    assert (answer.status_code, answer.json()["labels"]) == (200, 1)
    said = select(Person.name).join(Preference, Preference.person_id == Person.id)
    assert name in db.scalars(said).one()


def test_a_name_of_a_project_may_be_two_hundred_characters_long(cast: Any) -> None:
    """A name of 32 characters fails: doccano #2301."""
    for size in (32, 33, 200):
        made = cast.admin.post("/api/v1/projects", json={"name": "n" * size, "base_model": "tiny"})
        assert made.status_code == 201


def test_the_same_row_twice_is_stored_once(cast: Any, db: Session) -> None:
    """The same row twice: label-studio #541; langfuse #12938."""
    rows = pairs(4)
    swapped = {"completion_a": rows[0]["completion_b"], "completion_b": rows[0]["completion_a"]}
    again = [{**rows[0], "external_id": "another"}, {**rows[0], **swapped}]
    first = cast.owner.post(f"{cast.project}/pairs", content=lines(rows + rows), headers=JSONL)
    assert (first.json()["added"], first.json()["duplicates"]) == (4, 4)
    second = cast.owner.post(f"{cast.project}/pairs", content=lines(again + rows), headers=JSONL)
    assert (second.json()["added"], second.json()["duplicates"]) == (0, 6)
    assert count(db, Pair) == 4


@pytest.mark.parametrize("kind", ["pairs", "prompts"])
def test_an_import_tells_the_ids_of_its_rows_new_or_not(cast: Any, db: Session, kind: str) -> None:
    """An import answers without ids: label-studio #1202."""
    fields = ("prompt", "completion_a", "completion_b") if kind == "pairs" else ("prompt",)
    rows: list[Any] = [{name: row[name] for name in fields} for row in pairs(3)]
    url = f"{cast.project}/{kind}?ids=true"
    body = lines([rows[0], {}, rows[1], rows[0]])
    first = cast.owner.post(url, content=body, headers=JSONL).json()
    assert [one["line"] for one in first["ids"]] == [1, 3, 4]
    ids = [one["id"] for one in first["ids"]]
    assert ids[0] == ids[2]
    table: Any = Pair if kind == "pairs" else Prompt
    assert set(ids) == {str(id) for id in db.scalars(select(table.id))}
    second = cast.owner.post(url, json={kind: rows}).json()
    assert [one["id"] for one in second["ids"]][:2] == ids[:2]
    assert "ids" not in cast.owner.post(url.partition("?")[0], json={kind: rows}).json()


def test_ids_of_more_rows_than_an_answer_holds_are_refused_whole(
    cast: Any, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import answers without ids: label-studio #1202."""
    from app.projects import imports

    monkeypatch.setattr(imports, "MOST_IDS", 3)
    url = f"{cast.project}/pairs?ids=true"
    assert cast.owner.post(url, json={"pairs": pairs(4)}).status_code == 422
    assert count(db, Pair) == 0


@pytest.fixture
def labelled(cast: Any) -> int:
    """How many labels the project has: one of each of fifty thousand pairs."""
    many = 50_000
    rows = [{"prompt": f"P{n}", "chosen": f"x{n}", "rejected": f"y{n}"} for n in range(many)]
    answer = cast.owner.post(
        f"{cast.project}/pairs?labels=true", files={"file": ("many.jsonl", lines(rows))}
    )
    assert answer.json()["labels"] == many
    return many


def test_fifty_thousand_rows_go_out_once_each_in_every_format(cast: Any, labelled: int) -> None:
    """50,000 rows take minutes, time out or run out of memory, or are doubled: label-studio #5873,
    PR 2250, #1289."""
    url = f"{cast.project}/export?format="
    trl = cast.owner.get(f"{url}trl").text.splitlines()
    assert Counter(json.loads(line)["prompt"] for line in trl) == {
        f"P{n}": 1 for n in range(labelled)
    }
    full = [json.loads(line)["id"] for line in cast.owner.get(f"{url}jsonl").text.splitlines()]
    table = csv.DictReader(io.StringIO(cast.owner.get(f"{url}csv").text))
    columns = parquet.read_table(io.BytesIO(cast.owner.get(f"{url}parquet").content))
    assert full == [row["id"] for row in table] == columns["id"].to_pylist()
    assert len(set(full)) == labelled


def test_an_export_is_read_as_it_is_sent(cast: Any, labelled: int) -> None:
    """An export runs out of memory: label-studio #5873. What is labelled meanwhile is not half
    in it."""
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
    pieces = export.export(project, "trl", False)
    seen = [next(pieces)]
    more = [{"prompt": "late", "chosen": "x", "rejected": "y"}]
    late = {"file": ("late.jsonl", lines(more))}
    assert cast.owner.post(f"{cast.project}/pairs?labels=true", files=late).json()["labels"] == 1
    seen += pieces
    assert len(seen) == labelled
    assert max(map(len, seen)) < 100
