"""The page "Gold", and what an annotator among gold pairs is shown."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from app.database import transaction
from app.models import GoldPair, Pair, Project
from tests.pages.conftest import Cast, soup

PAIRS = [
    {"prompt": f"Known {n}", "completion_a": f"good <i>{n}", "completion_b": f"bad {n}",
     "external_id": f"gold-{n}", "gold": True, "answer": "a"}
    for n in range(4)
]  # fmt: skip


@pytest.fixture
def golden(cast: Cast) -> Cast:
    """The cast's project with four gold pairs, one of two handed out being gold."""
    token = {"X-CSRF-Token": cast.owner.token}
    api = f"/api/v1{cast.p}"
    sent = cast.owner.post(f"{api}/pairs", json={"pairs": PAIRS}, headers=token)
    assert sent.json() == {"added": 0, "duplicates": 0, "rejected": [], "gold": 4}
    again = cast.owner.post(f"{api}/pairs", json={"pairs": PAIRS}, headers=token)
    assert again.json()["gold"] == 0
    answer = cast.owner.patch(api, json={"gold_share": 0.5}, headers=token)
    assert answer.json()["gold_share"] == 0.5
    return cast


def annotate(cast: Cast, most: int = 60) -> list[dict[str, Any]]:
    """The annotator answers one pair after the other by the API until gold was among them."""
    token = {"X-CSRF-Token": cast.annotator.token}
    said = []
    for _ in range(most):
        path = f"/api/v1{cast.p}/claims"
        items = cast.annotator.post(path, json={"count": 1}, headers=token).json()["items"]
        if not items:
            break
        (claim,) = items
        known = str(claim["prompt"]).startswith("Known")
        if known:
            place = f"/api/v1/claims/{claim['id']}/preference"
            left = "left" if "good" in claim["left"] else "right"
            answer = cast.annotator.post(place, json={"choice": left}, headers=token)
            assert answer.status_code == 201
            said.append(answer.json())
        else:
            place = f"/api/v1/claims/{claim['id']}/release"
            assert cast.annotator.post(place, headers=token).status_code == 200
        if len(said) == 2:
            break
    assert said
    return said


def test_an_annotators_own_list_tells_no_gold(golden: Cast, labelling_round: uuid.UUID) -> None:
    said = annotate(golden)
    listed = golden.annotator.get(f"/api/v1{golden.p}/preferences").json()["items"]
    assert {one["id"] for one in listed} == {one["id"] for one in said}
    for one in listed:
        assert (one["external_id"], one["policy"]) == (None, None)
        assert one["round"] == str(labelling_round)
        assert "gold" not in json.dumps({k: v for k, v in one.items() if k != "prompt"})
    with transaction() as session:
        known = {str(id) for id in session.scalars(select(GoldPair.pair_id))}
    assert not known & {one["pair"] for one in [*said, *listed]}
    assert {one["pair"] for one in said} == {one["pair"] for one in listed}
    assert golden.owner.get(f"/api/v1{golden.p}/preferences").json()["items"] == []


def test_progress_moves_with_every_answer(golden: Cast, labelling_round: uuid.UUID) -> None:
    path = f"/api/v1/rounds/{labelling_round}"
    before = golden.annotator.get(path).json()["labels"]["done"]
    annotate(golden)
    assert golden.annotator.get(path).json()["labels"]["done"] == before + 1  # never the last
    assert golden.annotator.get(f"{golden.p}/label/progress").json()["done"] == 1
    assert golden.owner.get(path).json()["labels"]["done"] == 0
    assert "Labels</dt><dd>0" not in golden.annotator.get(golden.p).text
    assert golden.annotator.get(f"/rounds/{labelling_round}").status_code == 200


def test_accuracy_stands_on_the_quality_page_and_answers_have_their_own_export(
    golden: Cast, labelling_round: uuid.UUID
) -> None:
    count = len(annotate(golden))
    page = soup(golden.owner.get(f"{golden.p}/quality"))
    assert f"{count} of {count}" in page.select("table")[1].text
    (who,) = golden.owner.get(f"/api/v1{golden.p}/quality").json()["annotators"]
    assert (who["gold"]["share"], who["gold"]["of"], who["labels"]) == (1.0, count, 0)
    assert 0.2 < who["gold"]["low"] < who["gold"]["high"] == 1.0
    answers = golden.owner.get(f"/api/v1{golden.p}/gold/answers").text.splitlines()
    assert [json.loads(row)["right"] for row in answers] == [True] * count
    assert golden.owner.get(f"/api/v1{golden.p}/export").text == ""


def test_a_pair_is_made_gold_and_retired(cast: Cast, done_round: uuid.UUID) -> None:
    empty = soup(cast.owner.get(f"{cast.p}/gold"))
    assert "No gold pair yet" in empty.text
    link = soup(cast.owner.get(f"/rounds/{done_round}")).select_one("a[href*='/gold?pair=']")
    assert "A is better" in cast.owner.get(link["href"]).text
    pair = link["href"].rpartition("=")[2]
    done = cast.owner.submit(f"{cast.p}/gold", {"pair": pair, "explanation": "Since <b>it is"})
    assert done.headers["Location"] == f"{cast.p}/gold?done=gold"
    twice = cast.owner.submit(f"{cast.p}/gold", {"pair": pair})
    assert twice.status_code == 409
    assert "gold already" in soup(twice).select_one(".notice.bad").string
    assert cast.owner.submit(f"{cast.p}/gold", {"pair": "x"}).status_code == 404
    page = cast.owner.get(f"{cast.p}/gold").text
    assert "Since &lt;b&gt;it is" in page
    (one,) = cast.owner.get(f"/api/v1{cast.p}/gold").json()["items"]
    assert (one["source"], one["answered"]) == (pair, 0)
    retired = cast.owner.submit(f"{cast.p}/gold/{one['pair']}/retire")
    assert retired.headers["Location"] == f"{cast.p}/gold?done=gold-retired"
    assert ">retired<" in cast.owner.get(f"{cast.p}/gold").text
    token = {"X-CSRF-Token": cast.owner.token}
    assert cast.owner.delete(f"/api/v1{cast.p}/gold/{pair}", headers=token).status_code == 404
    with transaction() as session:
        assert session.get_one(Pair, uuid.UUID(pair)).state == "answered"
        assert session.get_one(Project, cast.project_id).has_gold


def test_who_works_among_gold_sees_no_list_of_a_finished_rounds_pairs(
    cast: Cast, done_round: uuid.UUID
) -> None:
    chosen = "What was chosen, and why"
    assert chosen in cast.annotator.get(f"/rounds/{done_round}").text
    with transaction() as session:
        session.get_one(Project, cast.project_id).has_gold = True
    assert chosen not in cast.annotator.get(f"/rounds/{done_round}").text
    assert chosen in cast.owner.get(f"/rounds/{done_round}").text


def test_a_file_of_verdicts_is_imported_as_gold(cast: Cast) -> None:
    rows = "\n".join(
        json.dumps({"prompt": f"p{n}", "chosen": "good", "rejected": "bad"}) for n in range(3)
    )
    answer = cast.owner.submit(
        f"{cast.p}/import/pairs", {"gold": "on"}, files={"file": ("known.jsonl", rows)}
    )
    assert "3 are gold pairs" in soup(answer).text
