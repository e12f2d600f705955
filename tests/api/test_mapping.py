"""Files whose columns have names of their own, and what an import would do before it is done."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.labelling.models import GoldPair, Preference
from app.people.models import Person
from app.projects.mapping import PAIR_FIELDS, named
from app.projects.models import Pair, Prompt
from app.projects.row import Row
from app.rounds.models import Event

QUESTIONS: list[dict[str, Any]] = [
    {"question": "Why?", "good": "Because.", "bad": "No.", "key": "q1"},
    {"question": "", "good": "x", "bad": "y", "key": "q2"},
    {"question": "How?", "good": "Thus.", "bad": "So.", "key": "q3"},
]
AS_TRL = {"prompt": "question", "chosen": "good", "rejected": "bad", "external_id": "key"}


def file_of(rows: list[dict[str, Any]], kind: str) -> tuple[str, bytes]:
    if kind == "jsonl":
        return "f.jsonl", b"\n".join(json.dumps(row).encode() for row in rows)
    if kind == "json":
        return "f.json", json.dumps(rows).encode()
    if kind == "csv":
        head = ",".join(rows[0])
        return "f.csv", "\n".join([head, *(",".join(r.values()) for r in rows)]).encode()
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), file)
    return "f.parquet", file.getvalue()


def send(cast: Any, file: tuple[str, bytes], mapping: Any = None, **query: Any) -> Any:
    if mapping is not None:
        query["mapping"] = mapping if isinstance(mapping, str) else json.dumps(mapping)
    return cast.owner.post(f"{cast.project}/pairs", params=query, files={"file": file})


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_columns_of_any_name_become_pairs_with_their_labels(
    cast: Any, db: Session, kind: str
) -> None:
    answer = send(cast, file_of(QUESTIONS, kind), AS_TRL, labels="true").json()
    assert (answer["added"], answer["labels"], answer["shape"]) == (2, 2, "trl")
    assert "ignored_fields" not in answer
    (refused,) = answer["rejected"]
    assert refused["line"] == (3 if kind == "csv" else 2)
    assert "prompt: must not be empty" in refused["reason"]
    found = db.execute(
        select(Pair.external_id, Prompt.content, Preference.chosen, Pair.completion_a)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .join(Preference, Preference.pair_id == Pair.id)
        .order_by(Pair.id)
    ).all()
    assert [(id, prompt) for id, prompt, *_ in found] == [("q1", "Why?"), ("q3", "How?")]
    assert [(chosen == "a") == (a in ("Because.", "Thus.")) for *_, chosen, a in found] == [
        True
    ] * 2


def test_a_mapping_may_come_as_a_field_of_the_form(cast: Any, db: Session) -> None:
    name, content = file_of(QUESTIONS[:1], "csv")
    answer = cast.owner.post(
        f"{cast.project}/pairs",
        files={"file": (name, content)},
        data={"mapping": json.dumps(AS_TRL)},
    )
    assert answer.json()["added"] == 1
    assert db.scalars(select(Pair.external_id)).one() == "q1"


def test_a_mapping_leads_into_objects_and_lists(cast: Any, db: Session) -> None:
    rows = [{"chat": {"ask": "Why?"}, "answers": [{"text": "Because."}, {"text": "No."}]}]
    mapping = {
        "prompt": "chat.ask",
        "completion_a": "answers.0.text",
        "completion_b": "answers.1.text",
    }
    assert send(cast, file_of(rows, "jsonl"), mapping).json()["added"] == 1
    assert send(cast, file_of(rows, "parquet"), mapping).json()["duplicates"] == 1
    assert db.execute(select(Pair.completion_a, Pair.completion_b)).one() == ("Because.", "No.")


def test_mapped_columns_count_more_than_names_that_look_like_ours(cast: Any, db: Session) -> None:
    """A file with columns of our names that mean something else is read as the mapping says."""
    row = {"prompt": "P", "completion_a": "x", "completion_b": "y", "best": "x", "worst": "y"}
    sent = file_of([row], "jsonl")
    answer = send(cast, sent, {"chosen": "best", "rejected": "worst"}, labels="true").json()
    assert (answer["shape"], answer["labels"]) == ("trl", 1)
    swapped = {"completion_a": "completion_b", "completion_b": "completion_a"}
    assert send(cast, sent, swapped, dry_run="true").json()["first"][0]["completion_a"] == "y"


def test_our_own_shape_may_carry_labels(cast: Any, db: Session) -> None:
    row = {"prompt": "P", "completion_a": "x"}
    rows = [
        {**row, "completion_b": str(n), "label": said}
        for n, said in enumerate(("a", "B", "tie", "both_bad", "", "model_b", "best"))
    ]
    answer = send(cast, file_of(rows, "jsonl"), labels="true").json()
    assert (answer["added"], answer["labels"]) == (6, 5)
    assert answer["rejected"] == [{"line": 7, "reason": "label: must be a, b, tie or both_bad"}]
    said = db.scalars(select(Preference.choice).order_by(Preference.id)).all()
    assert said == ["left", "right", "tie", "both_bad", "right"]
    without = send(cast, file_of(rows, "jsonl")).json()
    assert (without["added"], without["duplicates"], without["rejected"]) == (1, 6, [])


@pytest.mark.parametrize(
    ("mapping", "part"),
    [
        ("{", "no valid JSON"),
        ("[1]", "must be an object"),
        ({"colour": "x"}, "colour is no field of ours"),
        ({"prompt": ""}, "prompt must be the name of a column"),
        ({"prompt": 7}, "prompt must be the name of a column"),
        ({"prompt": "a\x00"}, "NUL"),
        ({"prompt": "nowhere"}, "the file has no such column. It has: question, good, bad, key"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_by_name(
    cast: Any, db: Session, mapping: Any, part: str
) -> None:
    answer = send(cast, file_of(QUESTIONS, "csv"), mapping)
    assert answer.status_code == 422
    assert part in answer.json()["detail"]
    assert db.scalars(select(Pair)).all() == []


def test_a_shape_can_be_said_where_it_is_guessed_wrongly(cast: Any) -> None:
    turns = "\n\nHuman: Hi\n\nAssistant: "
    row = {"chosen": f"{turns}Hello!", "rejected": f"{turns}No."}
    sent = file_of([row], "jsonl")
    assert send(cast, sent, dry_run="true").json()["shape"] == "hh"
    said = send(cast, sent, dry_run="true", shape="trl-implicit").json()
    assert said["first"][0]["prompt"].startswith("\n\nHuman: Hi")
    unknown = send(cast, sent, shape="xml")
    assert unknown.status_code == 422
    assert "alpaca-eval" in unknown.json()["detail"]


def counts(db: Session) -> list[int]:
    tables = (Prompt, Pair, Preference, Person, GoldPair, Event)
    found = [db.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
    db.rollback()
    return found


def test_a_dry_run_says_what_would_come_of_it_and_stores_nothing(cast: Any, db: Session) -> None:
    before = counts(db)
    sent = file_of(QUESTIONS, "csv")
    dry = send(cast, sent, AS_TRL, labels="true", dry_run="true").json()
    assert counts(db) == before
    assert dry.pop("dry_run") is True
    assert dry.pop("columns") == ["question", "good", "bad", "key"]
    first = dry.pop("first")
    assert [row["prompt"] for row in first] == ["Why?", "How?"]
    assert first[0]["external_id"] == "q1"
    assert first[0][f"completion_{first[0]['label']}"] == "Because."
    assert dry == send(cast, sent, AS_TRL, labels="true").json()
    again = send(cast, sent, AS_TRL, dry_run="true").json()
    assert (again["added"], again["duplicates"]) == (0, 2)


def test_a_dry_run_of_prompts_and_of_gold_stores_nothing(cast: Any, db: Session) -> None:
    before = counts(db)
    url = f"{cast.project}/prompts?dry_run=1&mapping=" + json.dumps({"prompt": "question"})
    prompts = cast.owner.post(url, files={"file": file_of(QUESTIONS, "csv")}).json()
    assert (prompts["added"], len(prompts["rejected"])) == (2, 1)
    assert prompts["first"][0] == {"prompt": "Why?", "split": "train", "external_id": None}
    gold = send(cast, file_of(QUESTIONS, "csv"), AS_TRL, gold="true", dry_run="true").json()
    assert gold["gold"] == 2
    assert counts(db) == before


def test_json_has_our_names_already(cast: Any) -> None:
    body = {"prompts": [{"prompt": "P"}]}
    url = f"{cast.project}/prompts"
    assert cast.owner.post(f"{url}?dry_run=true", json=body).json()["added"] == 1
    refused = cast.owner.post(f'{url}?mapping={{"prompt":"x"}}', json=body)
    assert refused.status_code == 422
    assert "mapping" in refused.json()["detail"]


names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0."), min_size=1)


@given(
    st.dictionaries(st.sampled_from(PAIR_FIELDS), names, max_size=5),
    st.dictionaries(names, st.integers()),
)
def test_a_mapped_field_is_its_columns_value_or_missing(
    columns: dict[str, str], fields: dict[str, int]
) -> None:
    mapping = named(columns, PAIR_FIELDS)
    read = mapping.read(Row(1, fields)).fields
    for ours, column in columns.items():
        assert read.get(ours, "missing") == fields.get(column, "missing")
    untouched = fields.keys() - columns.keys() - set(columns.values())
    assert {name: fields[name] for name in untouched} == {
        name: value for name, value in read.items() if name not in columns
    }
