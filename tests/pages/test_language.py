"""Which language a reader is given, and that the REST API speaks English to everybody."""

from __future__ import annotations

from typing import Any

import pytest

from app.database import transaction
from app.models import Person
from tests.pages.conftest import Browser, Cast, soup


def tongue(browser: Browser, path: str = "/projects", **headers: str) -> str:
    """The language that a page says it is in."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = browser.get(path, headers=names, follow_redirects=True)
    said = str(soup(answer).html["lang"])
    assert answer.headers["Content-Language"] == said
    return said


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.5", "de"),
        ("fr,en;q=0.5,de;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr", "en"),
        ("de;q=0", "en"),
        ("de;q=high, ,;;", "en"),
        ("", "en"),
    ],
)
def test_a_browser_is_answered_in_the_first_language_that_there_is(
    app: Any, header: str, language: str
) -> None:
    assert tongue(Browser(app), "/sign-in", Accept_Language=header) == language


def test_the_door_speaks_what_was_chosen_there(app: Any) -> None:
    browser = Browser(app)
    page = soup(browser.get("/sign-in?next=/keys"))
    assert page.select_one("select[name=language] [selected]")["value"] == "en"
    answer = browser.post("/language", data={"language": "de", "next": "/keys"})
    assert answer.headers["Location"] == "/sign-in?next=%2Fkeys"
    page = soup(browser.get(answer.headers["Location"], headers={"Accept-Language": "en"}))
    assert page.html["lang"] == "de"
    assert page.find("h1").string == "Anmelden"
    assert page.select_one("input[name=next]")["value"] == "/keys"
    browser.post("/language", data={"language": "klingon"})
    assert tongue(browser, "/sign-in") == "en"


def test_the_language_at_the_door_is_not_chosen_by_another_site(app: Any) -> None:
    browser = Browser(app)
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert browser.post("/language", data={"language": "de"}, headers=headers).status_code == 403
    assert tongue(browser, "/sign-in") == "en"


def test_ones_own_choice_goes_before_the_browsers(cast: Cast) -> None:
    owner = cast.owner
    assert tongue(owner, Accept_Language="de") == "de"
    assert owner.submit("/account/language", {"language": "en"}).status_code == 303
    owner.cookies.set("activedpo_language", "de")
    assert tongue(owner, Accept_Language="de") == "en"
    owner.submit("/account/language", {"language": "de"})
    page = soup(owner.get("/account?done=language"))
    assert (
        page.select_one("[role=status]").text == "Ihre Seiten erscheinen jetzt in dieser Sprache."
    )
    owner.submit("/account/language", {"language": ""})
    with transaction() as session:
        assert session.get_one(Person, cast.people["owner"]).language is None
    assert tongue(cast.annotator) == "en"


def test_the_door_speaks_the_language_of_who_was_here(cast: Cast) -> None:
    cast.owner.submit("/account/language", {"language": "de"})
    cast.owner.cookies.clear()
    assert tongue(cast.owner, "/sign-in") == "en"
    cast.owner.sign_in("owner@example.com")
    cast.owner.submit("/sign-out")
    assert tongue(cast.owner, "/sign-in") == "de"


def test_a_language_that_is_not_there_is_refused(cast: Cast) -> None:
    answer = cast.owner.submit("/account/language", {"language": "klingon"})
    assert answer.status_code == 422
    assert "one of de, en" in answer.text


def test_an_error_speaks_the_readers_language_on_a_page_and_english_over_rest(cast: Cast) -> None:
    cast.owner.submit("/account/language", {"language": "de"})
    page = soup(cast.owner.get("/nowhere"))
    assert page.find("h1").string == "Nicht gefunden"
    assert page.html["dir"] == "ltr"
    headers = {"Accept": "application/json", "Accept-Language": "de"}
    document = cast.owner.get("/api/v1/projects/nowhere", headers=headers).json()
    assert document["title"] == "Invalid value"
    missing = cast.owner.get(f"/api/v1/rounds/{cast.project_id}", headers=headers).json()
    assert missing["title"] == "Not found"


def test_scripts_find_their_texts_on_the_page(cast: Cast) -> None:
    assert soup(cast.owner.get("/projects")).find("meta", attrs={"name": "words"}) is None
    page = soup(cast.owner.get("/projects", headers={"Accept-Language": "de"}))
    assert '"Copied": "Kopiert"' in page.find("meta", attrs={"name": "words"})["content"]
