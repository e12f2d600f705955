"""The page of a project's oracle: attach, look, detach, in a browser's words."""

from __future__ import annotations

import uuid

from app.database import transaction
from app.oracles import actions, queries
from tests.pages.conftest import Cast, soup


def test_it_says_that_there_is_none(cast: Cast) -> None:
    page = soup(cast.owner.get(f"{cast.p}/oracle"))
    assert "No oracle is attached" in page.text
    assert page.select_one("nav.tabs a[aria-current=page]").text == "Oracle"


def test_one_is_attached_and_detached(cast: Cast) -> None:
    sent = {"kind": "sentiment", "mode": "first", "base_url": "", "model": "left over"}
    assert cast.owner.submit(f"{cast.p}/oracle", sent).status_code == 303
    page = soup(cast.owner.get(f"{cast.p}/oracle"))
    assert "friendlier text" in page.text
    assert page.select_one("#mode option[selected]")["value"] == "first"
    assert cast.owner.submit(f"{cast.p}/oracle/detach").status_code == 303
    page = soup(cast.owner.get(f"{cast.p}/oracle"))
    assert "No oracle is attached" in page.text


def test_what_is_wrong_stands_beside_its_field(cast: Cast) -> None:
    sent = {"kind": "openai", "mode": "alone", "model": "m", "base_url": "ftp://x", "budget": "x"}
    answer = cast.owner.submit(f"{cast.p}/oracle", sent)
    page = soup(answer)
    assert answer.status_code == 422
    assert "must begin with http" in page.select_one("#base_url-problem").text
    assert page.select_one("#budget-problem")
    assert page.select_one("#model")["value"] == "m"
    private = cast.owner.submit(
        f"{cast.p}/oracle", {**sent, "base_url": "http://127.0.0.1/v1", "budget": "5"}
    )
    assert "private or loopback" in soup(private).select_one("#base_url-problem").text


def test_its_key_is_never_in_the_page(cast: Cast) -> None:
    sent = {
        "kind": "openai",
        "mode": "alone",
        "model": "m",
        "base_url": "http://judge.invalid/v1",
        "api_key": "sk-never-planted-secret",
        "budget": "2.5",
    }
    assert cast.owner.submit(f"{cast.p}/oracle", sent).status_code == 303
    page = cast.owner.get(f"{cast.p}/oracle")
    assert "sk-never" not in page.text
    assert soup(page).select_one("#api_key")["value"] == "********"
    with transaction() as s:
        actions.stop(s, queries.locked(s, cast.project_id), "it refused the API key (401)")
    assert "refused the API key" in cast.owner.get(f"{cast.p}/oracle").text


def test_annotators_and_strangers_do_not_see_it(cast: Cast) -> None:
    assert cast.annotator.get(f"{cast.p}/oracle").status_code == 403
    assert cast.stranger.get(f"{cast.p}/oracle").status_code == 404


def test_the_rounds_page_tells_how_the_oracle_does(cast: Cast, labelling_round: uuid.UUID) -> None:
    path = f"/rounds/{labelling_round}"
    assert "oracle is attached" not in cast.owner.get(path).text
    sent = {"kind": "sentiment", "mode": "people_first", "fill_after": "3600"}
    assert cast.owner.submit(f"{cast.p}/oracle", sent).status_code == 303
    assert "An oracle is attached" in cast.owner.get(path).text
    with transaction() as s:
        actions.rest(s, queries.locked(s, cast.project_id), "it answered 503")
    assert "it answered 503" in soup(cast.annotator.get(path)).select_one(".notice.bad").text
    with transaction() as s:
        actions.stop(s, queries.locked(s, cast.project_id), "the budget of $1 is used up")
    assert "budget of $1" in soup(cast.owner.get(path)).select_one(".notice.bad").text


def test_the_form_takes_how_it_shares_with_people(cast: Cast) -> None:
    sent = {
        "kind": "openai",
        "mode": "first",
        "model": "m",
        "base_url": "http://judge.invalid/v1",
        "abstain_below": "0.8",
        "audit_to_people": "on",
        "logprobs": "on",
        "fill_after": "5",
    }
    assert cast.owner.submit(f"{cast.p}/oracle", sent).status_code == 303
    with transaction() as s:
        oracle = queries.attached(s, cast.project_id)
        assert oracle.settings["abstain_below"] == 0.8
        assert oracle.settings["audit_to_people"] is True
        assert oracle.settings["logprobs"] is True
        assert oracle.settings["fill_after"] == 3600  # not of this mode
    page = soup(cast.owner.get(f"{cast.p}/oracle"))
    assert page.select_one("input[name=logprobs]").has_attr("checked")
    assert page.select_one("#abstain_below")["value"] == "0.8"
    bad = cast.owner.submit(f"{cast.p}/oracle", {**sent, "abstain_below": "2"})
    assert soup(bad).select_one("#abstain_below-problem")
