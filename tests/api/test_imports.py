"""Prompts and pairs from outside: what is taken, what is refused, and that it is said."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.projects.models import Pair, Prompt

JSONL = {"Content-Type": "application/jsonl"}


def lines(*rows: Any) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def stored(db: Session) -> list[Any]:
    return list(db.scalars(select(Prompt.content).order_by(Prompt.id)))


def test_prompts_are_stored_in_order_and_duplicates_are_counted(cast: Any, db: Session) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    body = {"prompts": [{"prompt": "One"}, {"prompt": chat, "split": "eval"}, {"prompt": "One"}]}
    first = cast.owner.post(f"{cast.project}/prompts", json=body)
    assert first.status_code == 200
    assert first.json() == {"added": 2, "duplicates": 1, "rejected": []}
    again = cast.owner.post(f"{cast.project}/prompts", json=body)
    assert again.json() == {"added": 0, "duplicates": 3, "rejected": []}
    assert stored(db) == ["One", chat]
    listed = cast.annotator.get(f"{cast.project}/prompts?split=eval").json()
    assert [item["prompt"] for item in listed["items"]] == [chat]


def test_a_broken_line_is_named_and_the_four_others_are_kept(cast: Any, db: Session) -> None:
    body = lines({"prompt": "1"}, {"prompt": "2"}, b'{"prompt": ', {"prompt": "4"}, {"prompt": "5"})
    answer = cast.owner.post(f"{cast.project}/prompts", content=body, headers=JSONL).json()
    assert (answer["added"], answer["duplicates"]) == (4, 0)
    (rejected,) = answer["rejected"]
    assert rejected["line"] == 3
    assert "no valid JSON" in rejected["reason"]
    assert stored(db) == ["1", "2", "4", "5"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": " \n\t"}, "prompt: must not be empty"),
        ({"prompt": "a\x00b"}, "NUL"),
        (b'{"prompt": "a\\ud800b"}', "lone surrogate"),
        (b'{"prompt": "a\xff"}', "UTF-8"),
        ({"prompt": 7}, "prompt: must be a text"),
        ({"prompt": []}, "prompt: must be a text, or a list"),
        ({"prompt": [{"role": "robot", "content": "x"}]}, "role must be one of"),
        ({"prompt": [{"role": "user", "content": "\x00"}]}, "message 0: content contains a NUL"),
        ({"prompt": [{"role": "assistant", "content": "x"}]}, "must end with a message of the"),
        ({"prompt": [{"role": "user"}]}, "message 0"),
        ({"text": "x"}, "prompt: is missing"),
        ({"prompt": "x", "split": "test"}, "split: must be train or eval"),
        ({"prompt": "x", "external_id": "\x00"}, "external_id: contains a NUL"),
        ({"prompt": "x" * 1_000_001}, "longer than 1,000,000 characters"),
        (["x"], "is no JSON object"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_cannot_be_taken_says_why(cast: Any, row: Any, reason: str) -> None:
    body = lines({"prompt": "good"}, row, {"prompt": "also good"})
    answer = cast.owner.post(f"{cast.project}/prompts", content=body, headers=JSONL)
    assert answer.status_code == 200, answer.text
    assert answer.json()["added"] == 2
    (rejected,) = answer.json()["rejected"]
    assert rejected["line"] == 2
    assert reason in rejected["reason"]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"prompt": 7}, "prompts.1.prompt"),
        ({"prompt": ""}, "prompts.1.prompt"),
        ({"prompt": "a\x00"}, "prompts.1.prompt"),
        ({"prompt": "a\ud800"}, "prompts.1.prompt"),
        ({"prompt": "x" * 10_000_000}, "prompts.1.prompt"),
        ({"prompt": [{"role": "user", "content": "a\x00"}]}, "prompts.1.prompt"),
        ({"prompt": "x", "spilt": "eval"}, "prompts.1.spilt"),
        ({"prompt": "x", "split": "test"}, "prompts.1.split"),
        ({"prompt": "x", "external_id": "a\x00"}, "prompts.1.external_id"),
        ({}, "prompts.1.prompt"),
        ("x", "prompts.1"),
    ],
)
def test_json_is_taken_whole_or_not_at_all(cast: Any, db: Session, item: Any, field: str) -> None:
    body = json.dumps({"prompts": [{"prompt": "good"}, item]})
    headers = {"Content-Type": "application/json"}
    answer = cast.owner.post(f"{cast.project}/prompts", content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert stored(db) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"prompt": []}', b"\xff"])
def test_json_of_another_shape_is_refused(cast: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for kind in ("prompts", "pairs"):
        answer = cast.owner.post(f"{cast.project}/{kind}", content=body, headers=headers)
        assert answer.status_code == 422, answer.text


CSV = b'\xef\xbb\xbfprompt,split,external_id\r\n"Two\nlines",eval,7\r\nOne,,\r\n'


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("p.csv", "text/csv", CSV),
        ("p.jsonl", "application/x-ndjson", lines({"prompt": "Two\nlines"}, {"prompt": "One"})),
        (
            "p.parquet",
            "application/vnd.apache.parquet",
            as_parquet([{"prompt": "Two\nlines"}, {"prompt": "One"}]),
        ),
    ],
)
def test_every_format_comes_as_a_form_and_as_the_body(
    cast: Any, db: Session, name: str, kind: str, content: bytes
) -> None:
    url = f"{cast.project}/prompts"
    form = cast.owner.post(url, files={"file": (name, content, "application/octet-stream")})
    assert form.json() == {"added": 2, "duplicates": 0, "rejected": []}
    raw = cast.owner.post(url, content=content, headers={"Content-Type": kind})
    assert raw.json() == {"added": 0, "duplicates": 2, "rejected": []}
    assert stored(db) == ["Two\nlines", "One"]


def test_csv_rows_carry_split_and_external_id(cast: Any, db: Session) -> None:
    cast.owner.post(f"{cast.project}/prompts", content=CSV, headers={"Content-Type": "text/csv"})
    rows = db.execute(select(Prompt.split, Prompt.external_id).order_by(Prompt.id)).all()
    assert [tuple(row) for row in rows] == [("eval", "7"), ("train", None)]


def test_a_wrong_csv_header_names_the_columns_that_are_expected(cast: Any, db: Session) -> None:
    answer = cast.owner.post(
        f"{cast.project}/pairs", files={"file": ("p.csv", b"prompt,completion_a\nx,y\n")}
    )
    assert answer.status_code == 422
    for name in ("prompt", "completion_a", "completion_b", "external_id"):
        assert name in answer.json()["detail"]
    assert "lacks the column completion_b" in answer.json()["detail"]


def test_csv_rows_that_do_not_fit_are_named_by_their_first_line(cast: Any) -> None:
    body = b'prompt\n"a\nb"\nx,y\nc\xff\nd\n"open'
    answer = cast.owner.post(f"{cast.project}/prompts", files={"file": ("p.csv", body)}).json()
    assert answer["added"] == 2
    assert [one["line"] for one in answer["rejected"]] == [4, 5, 7]
    assert "1" in answer["rejected"][0]["reason"]


def test_a_file_that_is_no_parquet_is_refused(cast: Any) -> None:
    whole = as_parquet([{"prompt": "x" * 5000}])
    for content in (b"", b"PAR1", b"prompt\nx\n", whole[:-20], b"PAR1" + whole[40:]):
        answer = cast.owner.post(f"{cast.project}/prompts", files={"file": ("p.parquet", content)})
        assert answer.status_code == 422, content
        assert "no Parquet file" in answer.json()["detail"]


def test_a_parquet_file_may_hold_messages_and_must_hold_prompts(cast: Any, db: Session) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    answer = cast.owner.post(
        f"{cast.project}/prompts",
        files={"file": ("p.parquet", as_parquet([{"prompt": chat}, {"prompt": None}]))},
    ).json()
    assert answer["added"] == 1
    assert answer["rejected"] == [{"line": 2, "reason": "prompt: is missing"}]
    assert stored(db) == [chat]
    other = cast.owner.post(
        f"{cast.project}/prompts", files={"file": ("p.parquet", as_parquet([{"text": "x"}]))}
    )
    assert other.status_code == 422
    assert "lacks the column prompt" in other.json()["detail"]


def test_a_file_of_unknown_kind_is_refused(cast: Any) -> None:
    answer = cast.owner.post(f"{cast.project}/prompts", files={"file": ("p.xlsx", b"PK")})
    assert answer.status_code == 422
    assert ".parquet" in answer.json()["detail"]
    assert cast.owner.post(f"{cast.project}/prompts", data={"a": "b"}).status_code == 422


def test_fields_that_a_file_has_beyond_ours_are_named(cast: Any) -> None:
    body = lines({"prompt": "x", "source": "web"})
    answer = cast.owner.post(f"{cast.project}/prompts", content=body, headers=JSONL).json()
    assert answer == {"added": 1, "duplicates": 0, "rejected": [], "ignored_fields": ["source"]}


def test_a_body_beyond_the_limit_is_refused(
    cast: Any, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import get_settings

    monkeypatch.setattr(get_settings(), "max_upload_bytes", 1_000)
    url = f"{cast.project}/prompts"
    body = lines(*({"prompt": str(n)} for n in range(200)))
    assert cast.owner.post(url, content=body, headers=JSONL).status_code == 413
    parts = (body[at : at + 100] for at in range(0, len(body), 100))
    assert cast.owner.post(url, content=parts, headers=JSONL).status_code == 413
    assert stored(db) == []


def test_pairs_bring_their_prompts_and_equal_ones_are_never_shown(cast: Any, db: Session) -> None:
    pairs = [
        {"prompt": "P", "completion_a": "a", "completion_b": "b", "external_id": "1"},
        {"prompt": "P", "completion_a": "same", "completion_b": "same"},
        {"prompt": "P", "completion_a": "b", "completion_b": "a"},
        {"prompt": "Q", "completion_a": "a", "completion_b": "b"},
    ]
    answer = cast.owner.post(f"{cast.project}/pairs", json={"pairs": pairs})
    assert answer.json() == {"added": 3, "duplicates": 1, "rejected": []}
    rows = db.execute(
        select(Prompt.content, Pair.completion_a, Pair.state, Pair.external_id)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .order_by(Pair.id)
    ).all()
    assert [tuple(row) for row in rows] == [
        ("P", "a", "pool", "1"),
        ("P", "same", "equal", None),
        ("Q", "a", "pool", None),
    ]


@pytest.mark.parametrize(
    ("pair", "field"),
    [
        ({"prompt": "P", "completion_a": "", "completion_b": "b"}, "completion_a"),
        ({"prompt": "P", "completion_a": "a", "completion_b": "\x00"}, "completion_b"),
        ({"prompt": "P", "completion_a": "a", "completion_b": "\ud800"}, "completion_b"),
        ({"prompt": "P", "completion_a": "a", "completion_b": None}, "completion_b"),
        ({"prompt": "P", "completion_a": "a"}, "completion_b"),
        ({"prompt": " ", "completion_a": "a", "completion_b": "b"}, "prompt"),
    ],
)
def test_a_pair_that_cannot_be_taken_names_its_field(
    cast: Any, db: Session, pair: dict[str, Any], field: str
) -> None:
    as_json = cast.owner.post(
        f"{cast.project}/pairs",
        content=json.dumps({"pairs": [pair]}),
        headers={"Content-Type": "application/json"},
    )
    assert as_json.status_code == 422
    assert as_json.json()["errors"][0]["field"] == f"pairs.0.{field}"
    as_line = cast.owner.post(f"{cast.project}/pairs", content=lines(pair), headers=JSONL)
    assert as_line.json()["added"] == 0
    assert as_line.json()["rejected"][0]["line"] == 1
    assert db.scalars(select(Prompt)).all() == []


def test_more_rows_than_one_batch_are_stored_once_each(cast: Any, db: Session) -> None:
    rows = [
        {"prompt": f"P{n % 700}", "completion_a": f"a{n % 4500}", "completion_b": "b"}
        for n in range(5_000)
    ]
    answer = cast.owner.post(f"{cast.project}/pairs", content=lines(*rows), headers=JSONL).json()
    distinct = len({(row["prompt"], row["completion_a"]) for row in rows})
    assert (answer["added"], answer["duplicates"]) == (distinct, 5_000 - distinct)
    assert len(db.scalars(select(Prompt.id)).all()) == 700


def test_who_may_import(cast: Any, anyone: Any) -> None:
    for kind in ("prompts", "pairs"):
        url = f"{cast.project}/{kind}"
        assert anyone.post(url, json={kind: []}).status_code == 401
        assert cast.stranger.post(url, json={kind: []}).status_code == 404
        assert cast.annotator.post(url, json={kind: []}).status_code == 403
        assert cast.owner.post(url, json={kind: []}).status_code == 200
        assert cast.admin.post(url, json={kind: []}).status_code == 200
    assert cast.stranger.get(f"{cast.project}/prompts").status_code == 404
    nowhere = f"/api/v1/projects/{uuid.uuid4()}/prompts"
    assert cast.admin.post(nowhere, json={"prompts": []}).status_code == 404
