"""A project's further questions over HTTP: set, answered, refused by name, listed and exported."""

from __future__ import annotations

import csv
import io
import json
import uuid

import pytest
from pyarrow import parquet
from sqlalchemy import select, text

from app.database import transaction
from app.labelling.models import Preference, PreferenceVersion
from app.projects.questions import name_of

ASKED = [
    {"name": "tone", "title": "What tone?", "kind": "single", "options": ["warm", "cold"]},
    {"name": "faults", "title": "Which faults?", "kind": "multi", "options": ["long", "wrong"]},
    {"name": "help", "title": "How helpful?", "kind": "rating", "scale": 7, "required": True},
    {"name": "note", "title": "Anything else?", "kind": "text"},
]
SAID = {"tone": "warm", "faults": ["wrong"], "help": 6, "note": "  It =knows= it. "}
KEPT = {**SAID, "note": "It =knows= it."}


@pytest.fixture
def url(cast):
    """A project of imported pairs that asks all four kinds, with an open round."""
    body = {"name": "Asks", "source": "imported", "acquisition": "random", "batch_size": 3}
    made = cast.admin.post("/api/v1/projects", json={**body, "questions": ASKED})
    assert made.status_code == 201, made.text
    url = f"/api/v1/projects/{made.json()['id']}"
    pairs = [{"prompt": f"p{i}", "completion_a": "a", "completion_b": "b"} for i in range(3)]
    cast.admin.post(f"{url}/pairs", json={"pairs": pairs})
    cast.admin.post(f"{url}/members", json={"email": cast.annotator.email})
    assert cast.admin.post(f"{url}/rounds").status_code == 202
    return url


def claimed(who, url):
    return who.post(f"{url}/claims", json={"count": 1}).json()["items"][0]["id"]


def prefer(who, claim, **body):
    return who.post(f"/api/v1/claims/{claim}/preference", json={"choice": "left", **body})


def test_a_project_tells_its_questions(cast, url):
    told = cast.admin.get(url).json()["questions"]
    assert [one["name"] for one in told] == ["tone", "faults", "help", "note"]
    assert told[2] == {**ASKED[2], "options": None}


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"name": "Tone!"}, "questions.0.name"),
        ({"kind": "slider"}, "questions.0.kind"),
        ({"options": ["one"]}, "questions.0"),
        ({"options": ["a", "A "]}, "questions.0.options"),
        ({"options": ["a", " "]}, "questions.0.options"),
        ({"title": ""}, "questions.0.title"),
        ({"required": "yes"}, "questions.0.required"),
        ({"scale": 5}, "questions.0"),
        ({"kind": "rating", "options": None, "scale": 11}, "questions.0.scale"),
        ({"kind": "text"}, "questions.0"),
        ({"colour": "red"}, "questions.0.colour"),
    ],
)
def test_a_question_that_cannot_be_is_refused_by_field(cast, url, question, field):
    answer = cast.admin.patch(url, json={"questions": [ASKED[0] | question]})
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert len(cast.admin.get(url).json()["questions"]) == 4


def test_two_questions_of_one_name_are_refused(cast, url):
    answer = cast.admin.patch(url, json={"questions": [ASKED[0], ASKED[0]]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "questions")


def test_what_is_said_is_kept_listed_and_in_the_history(cast, url):
    said = prefer(cast.annotator, claimed(cast.annotator, url), answers=SAID).json()
    assert said["answers"] == KEPT
    (row,) = cast.admin.get(f"{url}/preferences").json()["items"]
    assert row["answers"] == KEPT
    change = {"choice": "tie", "answers": {"help": 1}}
    amended = cast.annotator.put(f"/api/v1/preferences/{said['id']}", json=change).json()
    assert amended["answers"] == {"help": 1}
    with transaction() as s:
        versions = select(PreferenceVersion.answers).order_by(PreferenceVersion.version)
        assert s.scalars(versions).all() == [KEPT, {"help": 1}]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"tone": "loud"}, "answers.tone"),
        ({"tone": ["warm"]}, "answers.tone"),
        ({"faults": "long"}, "answers.faults"),
        ({"faults": ["long", "long"]}, "answers.faults"),
        ({"faults": [{"long": 1}]}, "answers.faults"),
        ({"help": 8}, "answers.help"),
        ({"help": True}, "answers.help"),
        ({"help": "6"}, "answers.help"),
        ({"help": 5.5}, "answers.help"),
        ({"help": None}, "answers.help"),
        ({"note": 3}, "answers.note"),
        ({"note": "x" * 5001}, "answers.note"),
        ({"nome": "x"}, "answers.nome"),
    ],
)
def test_an_answer_that_does_not_fit_names_its_question_and_stores_nothing(cast, url, wrong, field):
    claim = claimed(cast.annotator, url)
    answer = prefer(cast.annotator, claim, answers=SAID | wrong)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert field in answer.json()["detail"]
    assert cast.admin.get(f"{url}/preferences").json()["items"] == []
    assert prefer(cast.annotator, claim, answers=SAID).status_code == 201


def test_what_is_wanted_of_people_is_not_wanted_of_judges_or_with_a_skip(cast, url):
    missing = prefer(cast.annotator, claimed(cast.annotator, url))
    assert missing.status_code == 422
    assert "How helpful?" in missing.json()["detail"]
    held = cast.annotator.get(f"{url}/claims").json()["items"][0]["id"]
    assert prefer(cast.annotator, held, judge={"name": "me"}).status_code == 201
    assert prefer(cast.annotator, claimed(cast.annotator, url), choice="skip").status_code == 201


def test_of_many_answers_each_is_looked_at_on_its_own(cast, url):
    claims = [claimed(cast.annotator, url) for _ in range(3)]
    items = [
        {"claim": claims[0], "choice": "left", "answers": SAID},
        {"claim": claims[1], "choice": "left"},
        {"claim": claims[2], "choice": "left", "answers": {"help": 99}},
    ]
    answer = cast.annotator.post("/api/v1/claims/preferences", json={"items": items})
    assert [item["status"] for item in answer.json()["items"]] == [201, 422, 422]
    assert answer.json()["items"][0]["answers"] == KEPT
    (row,) = cast.admin.get(f"{url}/preferences").json()["items"]
    assert row["answers"] == KEPT
    with transaction() as s:
        assert s.scalars(select(PreferenceVersion.answers)).all() == [KEPT]


def test_a_project_without_questions_takes_no_answers(cast, url):
    assert cast.admin.patch(url, json={"questions": []}).status_code == 200
    claim = claimed(cast.annotator, url)
    assert prefer(cast.annotator, claim, answers={"tone": "warm"}).status_code == 422
    assert prefer(cast.annotator, claim, answers={}).json()["answers"] == {}


def test_full_exports_have_the_answers_and_trl_has_not(cast, url):
    prefer(cast.annotator, claimed(cast.annotator, url), answers=SAID)

    def export(format: str) -> bytes:
        answer = cast.admin.get(f"{url}/export", params={"format": format})
        assert answer.status_code == 200
        return answer.content

    assert json.loads(export("jsonl"))["answers"] == KEPT
    (row,) = csv.DictReader(io.StringIO(export("csv").decode()))
    assert json.loads(row["answers"]) == KEPT
    (row,) = parquet.read_table(io.BytesIO(export("parquet"))).to_pylist()
    assert json.loads(row["answers"]) == KEPT
    assert b"answers" not in export("trl")
    assert b"knows" not in export("trl")


def test_who_is_deleted_takes_their_words_along_and_leaves_their_choices(cast, url):
    prefer(cast.annotator, claimed(cast.annotator, url), answers=SAID)
    assert cast.admin.delete(f"/api/v1/people/{cast.annotator.id}").status_code < 300
    left = {name: value for name, value in KEPT.items() if name != "note"}
    with transaction() as s:
        assert s.scalars(select(Preference.answers)).all() == [left]
        assert s.scalars(select(PreferenceVersion.answers)).all() == [left]
        assert "knows" not in str(
            s.execute(text("SELECT preferences::text FROM preferences")).all()
        )


def test_a_name_is_made_for_a_question_that_has_none():
    assert name_of("How helpful is it?", []) == "how_helpful_is_it"
    assert name_of("Ist es höflich?", []) == "ist_es_hoflich"
    assert name_of("Tone", ["tone"]) == "tone_2"
    assert name_of("¿质量?", ["x", "y"]) == "question_3"
    assert len(name_of(uuid.uuid4().hex * 9, [])) <= 40
