"""Signing in and out, people and API keys."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from app.web import safe_next
from tests.pages.conftest import Browser, Cast, soup


def test_the_right_password_opens_the_door_and_leads_back(cast: Cast, app) -> None:
    browser = Browser(app)
    data = {"email": "owner@example.com", "password": "a long enough password", "next": cast.p}
    answer = browser.post("/sign-in", data=data)
    assert (answer.status_code, answer.headers["Location"]) == (303, cast.p)
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert browser.get("/sign-in").headers["Location"] == "/projects"


@pytest.mark.parametrize("email", ["owner@example.com", "nobody@example.com"])
def test_a_wrong_password_says_the_same_for_known_and_unknown(cast: Cast, app, email: str) -> None:
    answer = Browser(app).sign_in(email, "not the password")
    assert answer.status_code == 401
    assert "The e-mail address or the password is wrong." in answer.text
    assert soup(answer).find("input", id="email")["value"] == email
    assert "Set-Cookie" not in answer.headers


def test_too_many_tries_are_told_to_wait(cast: Cast, app) -> None:
    browser = Browser(app)
    for _ in range(40):  # a window of the limit may end in between
        answer = browser.sign_in("owner@example.com", "wrong")
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    assert "Too many tries" in answer.text


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil"}],
)
def test_a_form_of_another_site_signs_nobody_in(cast: Cast, app, headers: dict[str, str]) -> None:
    browser = Browser(app)
    browser.headers.update(headers)
    assert browser.sign_in("owner@example.com").status_code == 403


@pytest.mark.parametrize(
    "path", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/\n/x"]
)
def test_it_never_leads_to_another_site(path: str) -> None:
    assert safe_next(path) == "/projects"


def test_signing_out_ends_the_session(cast: Cast) -> None:
    cookies = dict(cast.owner.cookies)
    assert cast.owner.submit("/sign-out").headers["Location"] == "/sign-in"
    cast.owner.cookies.update(cookies)
    assert cast.owner.get("/projects").status_code == 303


def test_an_admin_adds_somebody_who_can_sign_in(cast: Cast, app) -> None:
    form = {"email": "New@Example.com", "name": "New", "role": "member", "password": "x" * 12}
    assert cast.admin.submit("/people", form).status_code == 303
    assert Browser(app).sign_in("new@example.com", "x" * 12).status_code == 303
    again = cast.admin.submit("/people", form)
    assert again.status_code == 409
    assert "already" in again.text
    assert soup(again).find("input", id="email")["value"] == "New@Example.com"


def test_who_is_deactivated_is_out_at_once_and_can_come_back(cast: Cast) -> None:
    person = cast.people["annotator"]
    assert cast.admin.submit(f"/people/{person}/deactivate").status_code == 303
    assert cast.annotator.get("/projects").status_code == 303
    cast.admin.submit(f"/people/{person}/activate")
    assert cast.annotator.sign_in("annotator@example.com").status_code == 303


def test_a_key_is_shown_once_and_works_until_it_is_revoked(cast: Cast, app) -> None:
    form = {"name": "script", "scope": "annotator", "project_id": str(cast.project_id)}
    made = cast.owner.submit("/keys", form)
    secret = soup(made).find(id="secret").string
    assert secret not in cast.owner.get("/keys").text
    script = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    assert script.get(f"/api/v1/projects/{cast.project_id}").status_code == 200
    revoke = soup(made).select_one("form[action$='/revoke']")["action"]
    assert cast.stranger.submit(revoke).status_code == 404
    assert cast.owner.submit(revoke).status_code == 303
    assert script.get(f"/api/v1/projects/{cast.project_id}").status_code == 401


def test_a_name_that_cannot_be_stored_is_told_beside_its_field(cast: Cast) -> None:
    key = cast.owner.submit("/keys", {"name": "a\0b", "scope": "annotator", "project_id": ""})
    person = {
        "email": "nul@example.com",
        "name": "a\0b",
        "role": "member",
        "password": "long enough",
    }
    for answer in (key, cast.admin.submit("/people", person)):
        assert answer.status_code == 422
        assert "contains a NUL character" in answer.text


def test_nobody_makes_a_key_for_a_project_they_do_not_see(cast: Cast) -> None:
    form = {"name": "spy", "scope": "admin", "project_id": str(cast.project_id)}
    answer = cast.stranger.submit("/keys", form)
    assert soup(answer).find(id="secret") is None
    assert "Replies" not in answer.text
