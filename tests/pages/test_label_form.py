"""The labelling page as a form: what a browser without its script may send, and is told."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from app.database import transaction
from app.models import Claim, Preference
from tests.pages.conftest import Cast, soup

ASKED = [
    {"name": "tone", "title": "What <b>tone</b>?", "kind": "single", "options": ["warm", "cold"]},
    {"name": "faults", "title": "Faults?", "kind": "multi", "options": ["long", "wrong"]},
    {"name": "help", "title": "Helpful?", "kind": "rating", "scale": 3, "required": True},
    {"name": "note", "title": "Else?", "kind": "text"},
]


def settings(cast: Cast, **changed: Any) -> None:
    token = {"X-CSRF-Token": cast.owner.token}
    assert cast.owner.patch(f"/api/v1{cast.p}", json=changed, headers=token).status_code == 200


def opened(cast: Cast) -> tuple[Any, str]:
    """The annotator's page, and where its answer goes."""
    page = soup(cast.annotator.get(f"{cast.p}/label"))
    return page, str(page.select_one("#answer")["action"])


def stored() -> list[Preference]:
    with transaction() as s:
        return list(s.scalars(select(Preference).where(Preference.deleted_at.is_(None))))


def test_the_page_brings_its_first_pairs_along(cast: Cast, labelling_round: uuid.UUID) -> None:
    page, action = opened(cast)
    claims = json.loads(page.find(id="labelling")["data-claims"])
    assert action.endswith(claims[0]["id"])
    assert page.select_one("#left").get_text(strip=True) == claims[0]["left"]
    assert not page.select_one("#pair").has_attr("hidden")
    again = json.loads(opened(cast)[0].find(id="labelling")["data-claims"])
    assert [one["id"] for one in again] == [one["id"] for one in claims]
    assert all(
        new["expires_at"] > old["expires_at"] for new, old in zip(again, claims, strict=True)
    )


def test_a_page_that_is_fetched_ahead_takes_no_pair(cast: Cast, labelling_round: uuid.UUID) -> None:
    cast.annotator.get(f"{cast.p}/label", headers={"Sec-Purpose": "prefetch"})
    with transaction() as s:
        assert s.scalars(select(Claim)).all() == []


def test_the_form_says_all_that_the_keys_do(cast: Cast, labelling_round: uuid.UUID) -> None:
    settings(cast, questions=ASKED)
    page, action = opened(cast)
    assert (
        page.select_one("[data-question=tone] legend").get_text().strip().endswith("<b>tone</b>?")
    )
    sent = {
        "choice": "left", "strength": "2", "flag": ["unsafe", "broken"], "why": " so \r\n it is",
        "answers.tone": "cold", "answers.faults": ["long", "wrong"], "answers.help": "3",
        "answers.note": "fine",
    }  # fmt: skip
    assert cast.annotator.submit(action, sent).status_code == 303
    (said,) = stored()
    assert (said.choice, said.strength, said.flags) == ("left", 2, ["broken", "unsafe"])
    assert said.rationale == "so \n it is"
    assert said.answers == {"tone": "cold", "faults": ["long", "wrong"], "help": 3, "note": "fine"}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"choice": "left"}, "Helpful?"),
        ({"choice": "left", "answers.help": "4"}, "answers.help"),
        ({"choice": "left", "answers.help": "1", "answers.tone": "<b>loud"}, "answers.tone"),
        ({"choice": "middle"}, "choice"),
        ({"choice": "left", "flag": "ugly", "answers.help": "1"}, "flags"),
    ],
)
def test_what_cannot_be_taken_is_told_and_kept_in_the_form(
    cast: Cast, labelling_round: uuid.UUID, sent: dict[str, str], said: str
) -> None:
    settings(cast, questions=ASKED)
    _, action = opened(cast)
    answer = cast.annotator.submit(action, {**sent, "why": "my <i>words"})
    assert answer.status_code == 422
    page = soup(answer)
    assert said in page.select_one("[role=alert]").text
    assert page.select_one("#why").text == "my <i>words"
    assert page.select_one("#answer")["action"] == action
    assert stored() == []


def test_another_answer_to_the_same_pair_is_told_of(cast: Cast, labelling_round: uuid.UUID) -> None:
    _, action = opened(cast)
    assert cast.annotator.submit(action, {"choice": "tie"}).status_code == 303
    assert cast.annotator.submit(action, {"choice": "tie"}).status_code == 303
    again = cast.annotator.submit(action, {"choice": "left"})
    assert again.status_code == 409
    assert "You said tie" in soup(again).select_one("[role=alert]").text
    assert [one.choice for one in stored()] == ["tie"]


def test_a_claim_is_answered_at_its_own_project_alone(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    _, action = opened(cast)
    elsewhere = action.replace(str(cast.project_id), str(uuid.uuid4()))
    assert cast.annotator.submit(elsewhere, {"choice": "tie"}).status_code == 404
    assert cast.owner.submit(action, {"choice": "tie"}).status_code == 404
    assert stored() == []


def test_a_batch_that_others_hold_is_not_called_empty(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    cast.owner.get(f"{cast.p}/label")
    cast.owner.get(f"{cast.p}/label")
    page, rest = soup(cast.annotator.get(f"{cast.p}/label")), f"{cast.p}/label/rest"
    assert json.loads(page.find(id="labelling")["data-claims"]) == []
    told = soup(cast.annotator.get(rest)).text
    assert "still wait for an answer" in told
    assert "somebody else" in told
