"""Practice: guidelines first, told after each pair, and real pairs only for who has passed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select

from app.database import transaction
from app.models import Membership, Preference
from app.people import actions as people
from app.people.models import Person
from tests.pages.conftest import Cast, soup

PAIRS = [
    {"prompt": f"Practice {n}?", "completion_a": f"good **{n}**", "completion_b": f"<b>bad {n}",
     "answer": ("a", "tie", "both_bad")[n], "explanation": f"since it is {n} <i>"}
    for n in range(3)
]  # fmt: skip


@pytest.fixture
def learning(cast: Cast, labelling_round: uuid.UUID) -> Cast:
    """The cast's project with three practice pairs, two of which must be right."""
    token = {"X-CSRF-Token": cast.owner.token}
    api = f"/api/v1{cast.p}"
    wanted = {"practice_pass": 0.6, "guidelines": "Prefer <u>what is good"}
    assert cast.owner.patch(api, json=wanted, headers=token).status_code == 200
    sent = cast.owner.put(f"{api}/practice-pairs", json={"pairs": PAIRS}, headers=token)
    assert [one["answer"] for one in sent.json()["items"]] == ["a", "tie", "both_bad"]
    return cast


def right_choice(page: Any, n: int) -> str:
    """What answers pair ``n`` of ``PAIRS`` rightly on this page."""
    if n:
        return str(PAIRS[n]["answer"])
    return "left" if "good" in page.select(".side")[0].text else "right"


def action(page: Any) -> str:
    """Where the page's answer goes."""
    return str(page.select_one("form[action*='/practice/']")["action"])


def practise(cast: Cast, wrong: int = 0) -> Any:
    """One try of the annotator, the first ``wrong`` answers of it not right; the last page."""
    page = soup(cast.annotator.get(f"{cast.p}/practice?begin=1"))
    for n in range(3):
        assert f"Pair {n + 1} of 3" in page.text
        choice = right_choice(page, n)
        if n < wrong:
            choice = "both_bad" if n < 2 else "tie"
        told = cast.annotator.submit(action(page), {"choice": choice})
        assert told.status_code == 200
        page = soup(told)
        assert f"since it is {n} <i>" in page.text
        assert f"Pair {n + 1} of 3" in page.text
        assert page.select_one("#told strong").text.startswith(
            "Right" if n >= wrong else "Not quite"
        )
        page = soup(cast.annotator.get(page.select_one("#go-on")["href"]))
    return page


def claim(cast: Cast) -> Any:
    return cast.annotator.post(
        f"/api/v1{cast.p}/claims", json={"count": 1},
        headers={"X-CSRF-Token": cast.annotator.token},
    )  # fmt: skip


def test_guidelines_come_first_and_real_pairs_after_passing(learning: Cast) -> None:
    led = learning.annotator.get(f"{learning.p}/label")
    assert led.headers["Location"] == f"{learning.p}/practice"
    refused = claim(learning)
    assert refused.status_code == 403
    assert refused.json()["practice"] == f"{learning.p}/practice"
    page = soup(learning.annotator.get(f"{learning.p}/practice"))
    assert "Prefer <u>what is good" in page.text
    assert page.select_one("#go-on")["href"] == f"{learning.p}/practice?begin=1"
    assert "1 of 3 right" in practise(learning, wrong=2).text
    assert claim(learning).status_code == 403
    assert "3 of 3 right" in practise(learning).text
    first = soup(learning.annotator.get(f"{learning.p}/label")).select_one("#labelling")
    assert first is not None
    assert json.loads(first["data-claims"]), "real pairs come with the page"
    with transaction() as session:
        assert session.scalar(select(func.count(Preference.id))) == 0


def test_where_one_is_is_kept_and_an_answer_counts_once(learning: Cast) -> None:
    page = soup(learning.annotator.get(f"{learning.p}/practice?begin=1"))
    place = action(page)
    learning.annotator.submit(place, {"choice": "tie"})
    again = learning.annotator.submit(place, {"choice": right_choice(page, 0)})
    assert again.headers["Location"] == f"{learning.p}/practice?begin=1"
    back = soup(learning.annotator.get(f"{learning.p}/practice"))
    assert "Pair 2 of 3" in back.text
    assert learning.annotator.submit(place, {"choice": "perhaps"}).status_code == 422
    assert "Practice 0" not in back.text


def test_managers_and_keys_of_oracles_are_not_asked(learning: Cast, app: Any) -> None:
    assert learning.owner.get(f"{learning.p}/label").status_code == 200
    with transaction() as session:
        oracle = people.add_person(session, "oracle@example.com")
        session.add(Membership(project_id=learning.project_id, person_id=oracle.id, role="oracle"))
        annotator = session.get_one(Person, learning.people["annotator"])
        keys = {
            200: people.add_key(session, oracle, "oracle")[1],
            403: people.add_key(session, annotator, "annotator")[1],
        }
    learning.stranger.cookies.clear()
    for status, key in keys.items():
        answer = learning.stranger.post(
            f"/api/v1{learning.p}/claims",
            json={"count": 1},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert answer.status_code == status


def test_a_script_practises_as_well(learning: Cast) -> None:
    token = {"X-CSRF-Token": learning.annotator.token}
    place = f"/api/v1{learning.p}/practice"
    for n in range(3):
        at = learning.annotator.get(place).json()
        assert (at["asked"], at["pairs"], at["answered"], at["attempt"]) == (True, 3, n, 1)
        shown = at["next"]
        assert set(shown) == {"id", "prompt", "left", "right"}
        choice = ("left" if "good" in shown["left"] else "right", "tie", "both_bad")[n]
        told = learning.annotator.post(
            f"{place}/{shown['id']}", json={"choice": choice}, headers=token
        )
        assert told.status_code == 201
        assert (told.json()["right"], told.json()["answer"]) == (True, choice)
        assert told.json()["explanation"] == PAIRS[n]["explanation"]
    assert told.json()["result"] == {"attempt": 1, "right": 3, "total": 3, "passed": True}
    at = learning.annotator.get(place).json()
    assert (at["asked"], at["passed"], at["attempt"]) == (False, True, 2)


def test_results_are_seen_and_reset_and_pairs_taken_out(learning: Cast) -> None:
    practise(learning, wrong=1)
    place = f"{learning.p}/practice/pairs"
    page = soup(learning.owner.get(place))
    assert "67" in page.select("table")[1].text
    assert "yes" in page.select("table")[1].text
    (one,) = learning.owner.get(f"/api/v1{learning.p}/practice-results").json()["items"]
    assert (one["tries"], one["passed"], round(one["best"], 2)) == (1, True, 0.67)
    reset = f"{learning.p}/practice-results/{learning.people['annotator']}/reset"
    assert learning.owner.submit(reset).headers["Location"] == f"{place}?done=practice-reset"
    assert claim(learning).status_code == 403
    learning.annotator.submit(
        action(soup(learning.annotator.get(f"{learning.p}/practice?begin=1"))),
        {"choice": "tie"},
    )
    for form in page.select("form[action$=remove]"):
        assert learning.owner.submit(form["action"]).status_code == 303
    assert claim(learning).status_code == 200  # nothing to practise on: nothing is asked
    assert "nothing to practise" in learning.annotator.get(f"{learning.p}/practice").text


def test_taking_a_pair_out_begins_tries_under_way_anew(learning: Cast) -> None:
    page = soup(learning.annotator.get(f"{learning.p}/practice?begin=1"))
    learning.annotator.submit(action(page), {"choice": "tie"})
    forms = soup(learning.owner.get(f"{learning.p}/practice/pairs")).select("form[action$=remove]")
    learning.owner.submit(forms[-1]["action"])
    page = soup(learning.annotator.get(f"{learning.p}/practice?begin=1"))
    assert "Pair 1 of 2" in page.text


def test_a_pair_is_added_by_form_or_what_is_wrong_is_said(cast: Cast) -> None:
    place = f"{cast.p}/practice-pairs"
    refused = cast.owner.submit(place, {"prompt": "p", "completion_a": "x"})
    assert refused.status_code == 422
    page = soup(refused)
    assert page.select_one("#completion_b-problem") is not None
    assert page.select_one("#completion_a").text.strip() == "x"
    fine = {"prompt": "p", "completion_a": "x", "completion_b": "y", "answer": "b",
            "explanation": "z"}  # fmt: skip
    assert cast.owner.submit(place, fine).headers["Location"].endswith("?done=practice")
    assert cast.owner.submit(place, {**fine, "answer": "c"}).status_code == 422
    assert len(cast.owner.get(f"/api/v1{cast.p}/practice-pairs").json()["items"]) == 1


def test_a_mark_that_comes_later_counts_what_was_practised_before(learning: Cast) -> None:
    token = {"X-CSRF-Token": learning.owner.token}
    api = f"/api/v1{learning.p}"
    learning.owner.patch(api, json={"practice_pass": None}, headers=token)
    assert claim(learning).status_code == 200
    practise(learning, wrong=1)
    learning.owner.patch(api, json={"practice_pass": 1.0}, headers=token)
    assert claim(learning).status_code == 403
    learning.owner.patch(api, json={"practice_pass": 0.5}, headers=token)
    assert claim(learning).status_code == 200
