"""The page of a project's oracle: attach, look, detach, in a browser's words."""

from __future__ import annotations

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
        "api_key": "sk-never-to-be-seen",
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
