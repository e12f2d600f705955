"""The page of one's own keys, and where they stand then."""

from __future__ import annotations

import json
import uuid

import pytest

from app.labelling.shortcuts import DEFAULTS
from tests.pages.conftest import Cast, soup


def test_keys_are_chosen_shown_and_taken_back(cast: Cast, labelling_round: uuid.UUID) -> None:
    sent = {**DEFAULTS, "left": "ArrowLeft", "undo": "X"}
    answer = cast.annotator.submit("/account/shortcuts", sent)
    assert answer.status_code == 303
    page = soup(cast.annotator.get(answer.headers["Location"]))
    assert page.find(id="left")["value"] == "ArrowLeft"
    label = soup(cast.annotator.get(f"{cast.p}/label"))
    assert label.select_one("[data-choice=left]")["aria-keyshortcuts"] == "ArrowLeft"
    assert label.select_one("[data-choice=left] kbd").text == "←"
    assert label.select_one("#undo kbd").text == "x"
    assert json.loads(label.find(id="labelling")["data-keys"])["undo"] == "x"
    assert "←" in [one.text for one in label.select("#help kbd")]
    others = soup(cast.owner.get(f"{cast.p}/label"))
    assert others.select_one("[data-choice=left]")["aria-keyshortcuts"] == "1"
    api = cast.annotator.get("/api/v1/me/shortcuts").json()
    assert (api["left"], api["right"], api["undo"]) == ("ArrowLeft", "2", "x")
    cast.annotator.submit("/account/shortcuts", {"reset": "yes", "left": "j"})
    assert cast.annotator.get("/api/v1/me/shortcuts").json() == DEFAULTS


@pytest.mark.parametrize("key", ["<b>", "2", "Tab"])
def test_what_cannot_be_is_marked_and_nothing_is_stored(cast: Cast, key: str) -> None:
    answer = cast.annotator.submit("/account/shortcuts", {**DEFAULTS, "left": key})
    assert answer.status_code == 422
    page = soup(answer)
    assert page.find(id="left")["value"] == key
    assert page.find(id="right-problem" if key == "2" else "left-problem") is not None
    assert cast.annotator.get("/api/v1/me/shortcuts").json() == DEFAULTS


def test_a_sign_of_markup_is_a_key_and_nothing_more(cast: Cast, labelling_round: uuid.UUID) -> None:
    wanted = {"left": "<", "right": '"', "tie": "'", "both_bad": "&"}
    assert cast.annotator.submit("/account/shortcuts", {**DEFAULTS, **wanted}).status_code == 303
    page = soup(cast.annotator.get(f"/projects/{cast.project_id}/label"))
    assert json.loads(page.find(id="labelling")["data-keys"]) == {**DEFAULTS, **wanted}
    for what, key in wanted.items():
        button = page.find("button", attrs={"data-choice": what})
        assert (button["aria-keyshortcuts"], button.find("kbd").text) == (key, key)


def test_the_api_refuses_by_name(cast: Cast) -> None:
    token = {"X-CSRF-Token": cast.annotator.token}
    answer = cast.annotator.put("/api/v1/me/shortcuts", json={"left": "s"}, headers=token)
    assert answer.status_code == 422
    assert "Left is better" in answer.json()["detail"]
    assert answer.json()["detail"].startswith("skip: ")
    assert cast.annotator.put("/api/v1/me/shortcuts", json=[], headers=token).status_code == 422
