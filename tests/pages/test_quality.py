"""The page "Quality": figures, and setting somebody's labels aside."""

from __future__ import annotations

import json
import uuid

from tests.pages.conftest import Cast, soup


def test_an_empty_project_says_what_to_do(cast: Cast) -> None:
    page = soup(cast.owner.get(f"{cast.p}/quality"))
    assert page.select_one(".empty .button")["href"] == f"{cast.p}/settings"


def test_labels_are_set_aside_with_a_reason_and_taken_back(
    cast: Cast, done_round: uuid.UUID
) -> None:
    place = f"{cast.p}/quality/{cast.people['annotator']}"
    page = soup(cast.owner.get(f"{cast.p}/quality"))
    assert page.select_one("th[scope=row] a")["href"] == f"/rounds/{done_round}"
    assert "Annotator" in page.text
    refused = cast.owner.submit(f"{place}/set-aside", {"reason": " "})
    assert refused.status_code == 422
    assert "reason" in soup(refused).select_one(".notice.bad").string
    answer = cast.owner.submit(f"{place}/set-aside", {"reason": "Hasty <b>"})
    assert answer.headers["Location"] == f"{cast.p}/quality?done=set-aside"
    page = soup(cast.owner.get(f"{cast.p}/quality"))
    assert page.select_one(".tag").string == "set aside"
    assert "Hasty <b>" in page.text
    assert cast.owner.submit(f"{place}/take-back").status_code == 303
    assert "set aside" not in soup(cast.owner.get(f"{cast.p}/quality")).select("table")[1].text


def test_the_figures_come_over_http_too(cast: Cast, done_round: uuid.UUID) -> None:
    found = cast.owner.get(f"/api/v1{cast.p}/quality").json()
    (round,) = found["rounds"]
    assert (round["round"], round["labels"], round["pairs"]) == (str(done_round), 2, 0)
    assert round["left"]["share"] == 1.0
    (who,) = found["annotators"]
    assert who["email"] == "annotator@example.com"
    assert found["between"] == []
    place = f"/api/v1{cast.p}/set-asides/{who['person']}"
    token = {"X-CSRF-Token": cast.owner.token}
    assert cast.owner.put(place, json={"reason": "x"}, headers=token).status_code == 200
    assert json.loads(cast.owner.get(f"/api/v1{cast.p}/export").text or "{}") == {}
    assert cast.owner.delete(place, headers=token).status_code == 200
    assert cast.owner.delete(place, headers=token).status_code == 200
