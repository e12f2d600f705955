"""A second step of signing in that the site asks for: nothing else works before it is set up."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pyotp
import pytest
from sqlalchemy import update

from app.database import transaction
from app.people import actions
from app.people.access import CSRF_HEADER, now
from app.people.models import SignIn
from tests.pages.conftest import PASSWORD, Browser, soup
from tests.people.conftest import Provider, sign_in

Site = Callable[..., Any]
PEOPLE = {"boss": "admin", "ann": "member"}


@pytest.fixture
def people(configure: Site) -> Callable[[str], dict[str, Browser]]:
    """Makes an admin and a member, signed in at a site that asks so much of them."""

    def make(wanted: str) -> dict[str, Browser]:
        app = configure(second_factor=wanted)
        made = {}
        for name, role in PEOPLE.items():
            with transaction() as s:
                actions.add_person(s, f"{name}@example.com", name, role, PASSWORD)
            made[name] = Browser(app)
            assert made[name].sign_in(f"{name}@example.com").status_code == 303
        return made

    return make


def token(browser: Browser) -> str:
    meta = soup(browser.get("/account")).find("meta", attrs={"name": "csrf-token"})
    return str(meta["content"])


def post(browser: Browser, path: str, **data: str) -> Any:
    return browser.post(path, data={"csrf_token": token(browser), **data})


def set_up(browser: Browser, password: str = PASSWORD) -> Any:
    shown = post(browser, "/account/second-factor", password=password)
    secret = str(soup(shown).find(id="secret").string).replace(" ", "")
    code = pyotp.TOTP(secret).at(int(time.time()) - 30)
    return post(browser, "/account/second-factor/confirm", code=code)


@pytest.mark.parametrize(
    ("wanted", "led"), [("optional", set()), ("admins", {"boss"}), ("all", {"boss", "ann"})]
)
def test_who_is_asked_is_led_to_it_from_every_page(
    people: Callable[[str], dict[str, Browser]], wanted: str, led: set[str]
) -> None:
    for name, browser in people(wanted).items():
        page = browser.get("/projects")
        assert (page.headers.get("Location") == "/account") == (name in led)
        assert ("One step before you go on" in browser.get("/account").text) == (name in led)


def test_nothing_else_works_before(people: Callable[[str], dict[str, Browser]]) -> None:
    browser = people("all")["boss"]
    csrf = token(browser)
    for path in ("/projects", "/keys", "/people", "/account/data", "/system", "/projects/new"):
        assert browser.get(path).headers["Location"] == "/account", path
    for path in ("/keys", "/people", "/projects/new", "/account/second-factor/off"):
        answer = browser.post(path, data={"csrf_token": csrf, "name": "x", "scope": "admin"})
        assert answer.headers["Location"] == "/account", path
    calls = [("GET", "/projects"), ("POST", "/keys"), ("POST", "/projects"), ("GET", "/people")]
    for method, path in calls:
        answer = browser.request(method, f"/api/v1{path}", headers={CSRF_HEADER: csrf}, json={})
        assert (answer.status_code, answer.json()["second_factor"]) == (403, True), path
    assert browser.get("/api/v1/me").status_code == 200
    assert browser.post("/api/v1/sign-out", headers={CSRF_HEADER: csrf}).status_code == 204


def test_once_it_is_set_up_everything_does(people: Callable[[str], dict[str, Browser]]) -> None:
    browser = people("all")["boss"]
    done = set_up(browser)
    assert len(str(soup(done).find(id="recovery").string).split()) == 10
    assert soup(done).find("a", href="/projects", class_="button") is not None
    assert browser.get("/projects").status_code == 200
    assert browser.get("/api/v1/people").status_code == 200
    recovery = str(soup(done).find(id="recovery").string).split()
    refused = post(browser, "/account/second-factor/off", code=recovery[0])
    assert refused.status_code == 409
    assert "cannot be turned off" in browser.get("/account").text
    assert browser.get("/projects").status_code == 200


def test_who_becomes_an_admin_is_asked_from_then_on(
    people: Callable[[str], dict[str, Browser]],
) -> None:
    browser = people("admins")["ann"]
    assert browser.get("/projects").status_code == 200
    with transaction() as s:
        actions.change_person(s, actions.person_called(s, "ann@example.com"), role="admin")
    assert browser.get("/projects").headers["Location"] == "/account"


def test_keys_are_not_asked(people: Callable[[str], dict[str, Browser]]) -> None:
    script = people("all")["boss"]
    with transaction() as s:
        _, secret = actions.add_key(s, actions.person_called(s, "boss@example.com"), "admin")
    script.cookies.clear()
    answer = script.get("/api/v1/people", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200


def test_without_a_password_a_fresh_session_will_do(site: Site, provider: Provider) -> None:
    browser = Browser(site(second_factor="all", password_sign_in="0"))
    assert sign_in(browser, provider).status_code == 303
    assert browser.get("/projects").headers["Location"] == "/account"
    assert soup(browser.get("/account")).find("input", id="password") is None
    csrf = token(browser)
    with transaction() as s:
        s.execute(update(SignIn).values(created_at=now() - dt.timedelta(minutes=16)))
    stale = browser.post("/account/second-factor", data={"csrf_token": csrf})
    assert stale.status_code == 422
    assert sign_in(browser, provider).status_code == 303
    assert set_up(browser).status_code == 200
    assert browser.get("/projects").status_code == 200
