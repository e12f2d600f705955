"""Pairs in the shapes that other tools write, in and out again."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.database import transaction
from app.labelling.models import Preference, PreferenceVersion
from app.people.models import Person
from app.projects import shapes
from app.projects.models import Pair, Project, Prompt
from app.projects.row import Row
from app.rounds import actions as rounds
from app.rounds.models import TrainingLabel
from app.rounds.training_set import training_set

JSONL = {"Content-Type": "application/jsonl"}
ASK = [{"role": "user", "content": "Why is the sea salty?"}]


def say(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SHAPES: dict[str, list[dict[str, Any]]] = {
    "trl": [
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        {"prompt": "Grass is", "chosen": " green.", "rejected": " red."},
    ],
    "trl conversational": [
        {"prompt": ASK, "chosen": [say("Rivers.")], "rejected": [say("No idea.")]},
    ],
    "trl of a text and messages": [
        {"prompt": "Why?", "chosen": [*ASK, say("Rivers.")], "rejected": [*ASK, say("No.")]},
    ],
    "trl-implicit": [
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    ],
    "trl-implicit conversational": [
        {"chosen": [*ASK, say("Rivers.")], "rejected": [*ASK, say("No idea.")]},
    ],
    "hh": [
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Why?\n\nAssistant: Rivers.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Why?\n\nAssistant: No.",
        },
    ],
    "lmarena": [
        {
            "question_id": "q1",
            "model_a": "one",
            "winner": "model_a",
            "conversation_a": [{**ASK[0], "num_tokens": 5}, say("Rivers.")],
            "conversation_b": [{**ASK[0], "num_tokens": 5}, say("No idea.")],
        },
    ],
    "alpaca-eval": [
        {"instruction": "Say hi", "output_1": "Hello!", "output_2": "No.", "preference": 1.0},
    ],
    "argilla": [
        {
            "id": "one",
            "fields": {"prompt": "Say hi", "response1": "Hello!", "response2": "No."},
            "responses": {"preference": [{"value": "response1", "user_id": "u"}]},
        },
    ],
    "argilla of version 1": [
        {
            "fields": {"prompt": "Say hi", "response1": "No.", "response2": "Hello!"},
            "responses": [
                {
                    "status": "submitted",
                    "values": {
                        "preference": {
                            "value": [
                                {"rank": 2, "value": "response1"},
                                {"rank": 1, "value": "response2"},
                            ]
                        }
                    },
                }
            ],
        },
    ],
    "label-studio": [
        {
            "id": 7,
            "data": {"prompt": "Say hi", "answer1": "No.", "answer2": "Hello!"},
            "annotations": [
                {"result": [{"type": "pairwise", "value": {"selected": "right"}}]},
            ],
        },
    ],
}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def triples(trl: bytes) -> set[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of a file in trl's shape."""
    rows = [json.loads(line) for line in trl.splitlines()]
    return {tuple(json.dumps(r[k]) for k in ("prompt", "chosen", "rejected")) for r in rows}  # type: ignore[misc]


@pytest.fixture
def other(cast: Any) -> str:
    """The address of another project of imported pairs."""
    body = {"name": "Other", "base_model": "tiny", "source": "imported"}
    return f"/api/v1/projects/{cast.admin.post('/api/v1/projects', json=body).json()['id']}"


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_goes_in_out_as_trl_and_in_again(cast: Any, other: str, name: str) -> None:
    rows = SHAPES[name]
    to = f"{cast.project}/pairs?labels=1"
    answer = cast.owner.post(to, content=lines(rows), headers=JSONL).json()
    assert answer["shape"] == name.split()[0]
    assert (answer["added"], answer["labels"], answer["rejected"]) == (len(rows), len(rows), [])
    first = cast.owner.get(f"{cast.project}/export?format=trl").content
    assert len(triples(first)) == len(rows)
    assert all("lue" in row or "iver" in row or "green" in row or "Hello" in row
               for _, row, _ in triples(first))  # fmt: skip
    again = cast.admin.post(f"{other}/pairs?labels=1", content=first, headers=JSONL).json()
    assert (again["shape"], again["added"], again["labels"]) == ("trl", len(rows), len(rows))
    assert triples(cast.admin.get(f"{other}/export?format=trl").content) == triples(first)


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_comes_as_csv_and_parquet_too(
    cast: Any, other: str, name: str, format: str
) -> None:
    rows = SHAPES[name]
    if format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
            for row in rows
        )
        content = out.getvalue().encode()
    else:
        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), file)
        content = file.getvalue()
    sent = {"file": (f"My file.{format}", content)}
    answer = cast.owner.post(f"{cast.project}/pairs?labels=1", files=sent).json()
    assert (answer["shape"], answer["added"], answer["labels"]) == (
        name.split()[0],
        len(rows),
        len(rows),
    )
    jsonl = {"file": ("a.jsonl", lines(rows))}
    cast.admin.post(f"{other}/pairs?labels=1", files=jsonl)
    one, two = (cast.admin.get(f"{p}/export?format=trl").content for p in (cast.project, other))
    assert triples(one) == triples(two)


def test_without_being_asked_no_label_is_stored_and_nothing_tells_which_was_chosen(
    cast: Any, db: Session
) -> None:
    rows = [{"prompt": f"P{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(64)]
    answer = cast.owner.post(f"{cast.project}/pairs", content=lines(rows), headers=JSONL).json()
    assert answer == {"added": 64, "duplicates": 0, "rejected": [], "shape": "trl"}
    assert db.scalars(select(Preference)).all() == []
    first = [pair.completion_a.startswith("good") for pair in db.scalars(select(Pair))]
    assert 12 < sum(first) < 52
    assert set(db.scalars(select(Pair.state))) == {"pool"}


def test_our_own_shape_answers_as_ever(cast: Any) -> None:
    rows = [{"prompt": "P", "completion_a": "x", "completion_b": "y"}]
    answer = cast.owner.post(f"{cast.project}/pairs", content=lines(rows), headers=JSONL).json()
    assert answer == {"added": 1, "duplicates": 0, "rejected": []}


def test_recorded_labels_are_told_apart_and_named_after_the_file(cast: Any, db: Session) -> None:
    sent = {"file": ("Arena 2024.jsonl", lines(SHAPES["lmarena"]))}
    cast.owner.post(f"{cast.project}/pairs?labels=1", files=sent)
    (row,) = (json.loads(x) for x in cast.owner.get(f"{cast.project}/export").content.splitlines())
    assert row["recorded"] is True
    assert row["annotator"].startswith("recorded+arena-2024.jsonl+")
    assert (row["round"], row["external_id"], row["choice"]) == (None, "q1", "left")
    (listed,) = cast.owner.get(f"{cast.project}/preferences").json()["items"]
    assert listed["round"] is None
    assert db.scalars(select(Pair.state)).one() == "answered"
    assert db.scalars(select(Person).where(~Person.active)).one().name.endswith("2024.jsonl")
    assert db.scalars(select(PreferenceVersion)).one().choice == "left"


def test_the_same_file_twice_stores_each_label_once_whichever_way_round(
    cast: Any, db: Session
) -> None:
    (row,) = SHAPES["alpaca-eval"]
    turned = {**row, "output_1": row["output_2"], "output_2": row["output_1"], "preference": 1.8}
    for content, new in ((row, 1), (row, 0), (turned, 0)):
        answer = cast.owner.post(
            f"{cast.project}/pairs?labels=1", content=lines([content]), headers=JSONL
        ).json()
        assert answer["labels"] == new
    named = {"file": ("other.jsonl", lines([turned]))}
    assert cast.owner.post(f"{cast.project}/pairs?labels=1", files=named).json()["labels"] == 1
    said = list(db.scalars(select(Preference).order_by(Preference.id)))
    assert [p.chosen for p in said] == ["a", "a"]
    assert said[1].p_left == pytest.approx(0.2)


def spoken(transcripts: bytes) -> list[list[str]]:
    """The words of each row: a transcript keeps no space around a turn."""
    return sorted(str(json.loads(line)).split() for line in transcripts.splitlines())


@pytest.mark.parametrize("name", ["hh", "trl conversational", "trl", "alpaca-eval"])
def test_transcripts_go_out_and_in_again(cast: Any, other: str, name: str) -> None:
    rows = SHAPES[name]
    cast.owner.post(f"{cast.project}/pairs?labels=1", content=lines(rows), headers=JSONL)
    file = cast.owner.get(f"{cast.project}/export?format=hh")
    assert file.headers["Content-Disposition"].endswith('.jsonl"')
    if name == "hh":
        assert [json.loads(line) for line in file.content.splitlines()] == rows
    again = cast.admin.post(f"{other}/pairs?labels=1", content=file.content, headers=JSONL).json()
    assert (again["shape"], again["added"], again["labels"]) == ("hh", len(rows), len(rows))
    back = cast.admin.get(f"{other}/export?format=hh").content
    assert spoken(back) == spoken(file.content)


def test_a_system_turn_stands_before_the_transcript(cast: Any, other: str) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, *ASK]
    rows = [{"prompt": prompt, "chosen": [say("Rivers.")], "rejected": [say("No.")]}]
    cast.owner.post(f"{cast.project}/pairs?labels=1", content=lines(rows), headers=JSONL)
    file = cast.owner.get(f"{cast.project}/export?format=hh").content
    assert json.loads(file)["chosen"] == (
        "Be brief.\n\nHuman: Why is the sea salty?\n\nAssistant: Rivers."
    )
    cast.admin.post(f"{other}/pairs?labels=1", content=file, headers=JSONL)
    assert json.loads(cast.admin.get(f"{other}/export?format=trl").content) == rows[0]


BAD = [
    ("trl", {"prompt": "P", "chosen": "x"}, "rejected: is missing"),
    ("trl", {"prompt": "P", "chosen": 3, "rejected": "y"}, "chosen: must be"),
    ("trl", {"prompt": ASK, "chosen": ASK, "rejected": [say("y")]}, "chosen: must end with"),
    ("trl", {"prompt": "P", "chosen": [{"role": "user"}], "rejected": "y"}, "chosen: message 0"),
    ("hh", {"chosen": "Human: a", "rejected": "Human: b"}, "chosen: must end with"),
    ("hh", {"chosen": "a", "rejected": "b"}, "chosen: must be turns"),
    (
        "hh",
        {"chosen": "Human: a\n\nAssistant: x", "rejected": "Human: b\n\nAssistant: y"},
        "chosen, rejected: part before the last answer",
    ),
    ("trl-implicit", {"chosen": "same", "rejected": "same"}, "chosen, rejected: are the same"),
    ("trl-implicit", {"chosen": "x", "rejected": "y"}, "chosen, rejected: share no beginning"),
    ("lmarena", {**SHAPES["lmarena"][0], "winner": "me"}, "winner: must be one of"),
    ("alpaca-eval", {**SHAPES["alpaca-eval"][0], "preference": 3}, "preference: must be"),
    ("alpaca-eval", {**SHAPES["alpaca-eval"][0], "output_1": 7}, "output_1: must be a text"),
]


@pytest.mark.parametrize(("shape", "row", "reason"), BAD)
def test_an_error_names_the_line_and_the_field(
    cast: Any, shape: str, row: dict[str, Any], reason: str
) -> None:
    body = lines([SHAPES[shape][0], row])
    answer = cast.owner.post(f"{cast.project}/pairs", content=body, headers=JSONL).json()
    (rejected,) = answer["rejected"]
    assert (answer["shape"], answer["added"], rejected["line"]) == (shape, 1, 2)
    assert rejected["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("preference", "label"),
    [
        (None, None),
        (0, shapes.Label("tie", 0.5)),
        (1.5, shapes.Label("tie", 0.5)),
        (2, shapes.Label("b")),
        (1.25, shapes.Label("a", 0.75)),
    ],
)
def test_alpaca_eval_says_how_sure_it_is(preference: Any, label: Any) -> None:
    row = Row(1, {**SHAPES["alpaca-eval"][0], "preference": preference})
    shape, rows = shapes.recognised(iter([row]))
    assert [shape.read(r.fields).label for r in rows if isinstance(r, Row)] == [label]


@pytest.mark.parametrize("acquisition", ["random", "certainty"])
def test_a_file_with_labels_trains_with_nobody_asked(
    cast: Any, other: str, acquisition: str, db: Session
) -> None:
    cast.admin.patch(other, json={"acquisition": acquisition})
    body = lines(SHAPES["trl"])
    cast.admin.post(f"{other}/pairs?labels=1", content=body, headers=JSONL)
    with transaction() as session:
        project = session.get_one(Project, other.rpartition("/")[2])
        round = rounds.open_round(session, project, None)
        assert (round.state, round.needed) == ("training", 0)
        told = training_set(session, round)
        chosen = {t.pair.completion_a if t.p == 1 else t.pair.completion_b for t in told}
        assert chosen == {" blue.", " green."}
    assert len(db.scalars(select(TrainingLabel)).all()) == 2
    assert len(db.scalars(select(Prompt)).all()) == 2


ITS_OWN = ("lmarena", "alpaca-eval", "argilla", "label-studio")
BATTLES = [
    {"conversation_a": [*ASK, say(f"a{n}")], "conversation_b": [*ASK, say(f"b{n}")],
     "winner": winner, "question_id": f"q{n}"}
    for n, winner in enumerate(("model_a", "model_b", "tie", "tie (bothbad)"))
]  # fmt: skip


@pytest.mark.parametrize("format", ITS_OWN)
def test_each_shape_is_written_and_read_again_with_all_it_can_say(
    cast: Any, other: str, db: Session, format: str
) -> None:
    to = f"{cast.project}/pairs?labels=1"
    assert cast.owner.post(to, content=lines(BATTLES), headers=JSONL).json()["labels"] == 4
    file = cast.owner.get(f"{cast.project}/export?format={format}")
    suffix = file.headers["Content-Disposition"].rpartition(".")[2].strip('"')
    sent = {"file": (f"again.{suffix}", file.content)}
    again = cast.admin.post(f"{other}/pairs?labels=1", files=sent).json()
    kept = {"lmarena": 4, "alpaca-eval": 3, "argilla": 4, "label-studio": 2}[format]
    assert (again["shape"], again["added"], again["labels"], again["rejected"]) == (
        format, kept, kept, [],
    )  # fmt: skip
    written = cast.admin.get(f"{other}/export?format={format}").content
    drop = {"judge", "annotator", "metadata", "annotations", "responses"}

    def rows(content: bytes) -> list[Any]:
        found = (
            json.loads(content)
            if suffix == "json"
            else [json.loads(line) for line in content.splitlines()]
        )
        return [{k: v for k, v in row.items() if k not in drop} for row in found]

    assert rows(written) == rows(file.content)
    said = "SELECT p.external_id, coalesce(f.chosen, f.choice) FROM preferences f JOIN pairs p"
    query = text(f"{said} ON p.id = f.pair_id WHERE f.project_id = :project ORDER BY 1")
    first, second = (
        [tuple(row) for row in db.execute(query, {"project": p.rpartition("/")[2]})]
        for p in (cast.project, other)
    )
    assert second == [row for row in first if row in second]
    assert len(second) == kept


def test_what_most_of_a_tools_people_said_is_the_label() -> None:
    def label(*values: Any) -> Any:
        told = shapes.tool_shapes.argilla(
            {
                "fields": {"instruction": "q", "response-1": "x", "response-2": "y"},
                "responses": {"preference": [{"value": value} for value in values]},
            }
        ).label
        return told and told.said

    assert label("Response 1", "response-2", "response-1") == "a"
    assert label("response-1", "response-2") is None
    assert label() is None
    assert label([{"rank": 1, "value": "response-1"}, {"rank": 1, "value": "response-2"}]) == "tie"
    assert label(["response-2", "response-1"]) == "b"
    assert label("both bad", 7, {"odd": 1}) == "both_bad"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"fields": "x"}, "fields"),
        ({"fields": {"prompt": "p", "response1": "x"}}, "fields"),
        ({"fields": {"prompt": "p", "response1": "x", "response2": 5}}, "fields.response2"),
        ({"fields": {"prompt": "p", "response1": "x", "response2": "y"}, "responses": 5},
         "responses"),
        ({"data": {"prompt": "p", "answer1": "x"}}, "data"),
        ({"data": {"prompt": "p", "answer1": "x", "answer2": "y"}, "annotations": 5},
         "annotations"),
    ],
)  # fmt: skip
def test_a_tools_row_that_is_wrong_names_its_field(cast: Any, row: Any, field: str) -> None:
    answer = cast.owner.post(f"{cast.project}/pairs", content=lines([row]), headers=JSONL).json()
    assert answer["added"] == 0
    assert answer["rejected"][0]["reason"].startswith(f"{field}:")


@pytest.mark.parametrize("content", [b"{}", b"[1, 2", b"\xff"])
def test_a_json_file_that_is_no_array_is_refused_as_a_whole(cast: Any, content: bytes) -> None:
    answer = cast.owner.post(f"{cast.project}/pairs", files={"file": ("x.json", content)})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "file"
