"""Changing a password, ending sessions everywhere, and a new password by an admin's link."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, text, update

from app.database import transaction
from app.people import password_links
from app.people.access import token_hash
from app.people.models import PasswordLink, Person
from app.rounds.models import Event
from app.settings import get_settings
from tests.pages.conftest import PASSWORD, Browser, Cast, soup

EMAIL, NEW = "annotator@example.com", "another long password"


def link_for(cast: Cast, who: str = "annotator") -> str:
    """What an admin is shown for somebody."""
    shown = cast.admin.submit(f"/people/{cast.people[who]}/password-link")
    assert shown.status_code == 200, shown.text
    link = str(soup(shown).find(id="link").string)
    assert link.startswith("http://testserver/password?link=")
    return link.removeprefix("http://testserver")


def opened(app: Any, link: str) -> Browser:
    """A browser that followed the link; the address that it shows holds no token."""
    browser = Browser(app)
    arrived = browser.get(link)
    assert arrived.headers["Location"] == "/password"
    cookie = arrived.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    return browser


def use(browser: Browser, password: str = NEW) -> int:
    return browser.post("/password", data={"password": password}).status_code


def signs_in(app: Any, password: str) -> bool:
    return Browser(app).sign_in(EMAIL, password).status_code == 303


def test_a_link_sets_a_new_password_once_and_ends_every_session(cast: Cast, app: Any) -> None:
    browser = opened(app, link_for(cast))
    assert EMAIL in browser.get("/password").text
    assert use(browser, "short") == 422  # and the link stands
    assert use(browser) == 303
    assert cast.annotator.get("/projects").status_code == 303
    assert not signs_in(app, PASSWORD)
    assert signs_in(app, NEW)


def test_a_used_link_opens_nothing_more(cast: Cast, app: Any) -> None:
    link = link_for(cast)
    browser, again = opened(app, link), opened(app, link)
    assert use(browser) == 303
    dead = again.get("/password")
    assert dead.status_code == 410
    assert EMAIL not in dead.text
    assert use(again, "a third long password") == 410
    assert not signs_in(app, "a third long password")


def test_it_ends_after_a_day(cast: Cast, app: Any) -> None:
    browser = opened(app, link_for(cast))
    with transaction() as session:
        left = session.scalars(select(PasswordLink.expires_at)).one() - dt.datetime.now(dt.UTC)
        assert dt.timedelta(hours=23) < left <= password_links.LASTS
        session.execute(update(PasswordLink).values(expires_at=dt.datetime.now(dt.UTC)))
    assert use(browser) == 410


def test_a_second_link_ends_the_first(cast: Cast, app: Any) -> None:
    first = opened(app, link_for(cast))
    second = opened(app, link_for(cast))
    assert use(first) == 410
    assert use(second) == 303


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE people SET role = 'member' WHERE email = 'admin@example.com'",
        "UPDATE people SET active = false WHERE email = 'admin@example.com'",
        "UPDATE people SET active = false WHERE email = 'annotator@example.com'",
    ],
    ids=["its maker is no admin", "its maker is gone", "its person is gone"],
)
def test_it_is_worth_what_its_maker_may_do(
    cast: Cast, app: Any, database: Engine, change: str
) -> None:
    browser = opened(app, link_for(cast))
    with database.begin() as connection:
        connection.execute(text(change))
    assert use(browser) == 410


def test_changing_the_password_ends_it(cast: Cast, app: Any) -> None:
    browser = opened(app, link_for(cast))
    form = {"current": PASSWORD, "new": NEW}
    assert cast.annotator.submit("/account/password", form).status_code == 303
    assert use(browser, "a third long password") == 410
    assert signs_in(app, NEW)


def test_only_its_hash_is_kept_and_the_log_has_ids(cast: Cast, app: Any) -> None:
    token = link_for(cast).partition("link=")[2]
    with transaction() as session:
        assert session.scalars(select(PasswordLink.token_hash)).one() == token_hash(token)
    use(opened(app, f"/password?link={token}"))
    with transaction() as session:
        events = session.scalars(select(Event).where(Event.kind.like("password_link.%"))).all()
        assert [event.kind for event in events] == ["password_link.created", "password_link.used"]
        assert token not in str([event.data for event in events])


def test_guesses_are_limited(cast: Cast, app: Any) -> None:
    answers = {use(opened(app, f"/password?link=guess-{n}")) for n in range(130)}
    assert answers == {410, 429}


def test_admins_alone_make_one(cast: Cast, app: Any) -> None:
    path = f"/people/{cast.people['annotator']}/password-link"
    for who in (cast.owner, cast.annotator, cast.stranger):
        assert who.submit(path).status_code == 403
    with transaction() as session:
        assert session.scalars(select(PasswordLink)).all() == []


def test_no_form_of_another_site_uses_it(cast: Cast, app: Any) -> None:
    browser = opened(app, link_for(cast))
    browser.headers["Sec-Fetch-Site"] = "cross-site"
    assert use(browser) == 403
    assert signs_in(app, PASSWORD)


def test_there_is_none_where_passwords_are_not_taken(
    cast: Cast, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = opened(app, link_for(cast))
    monkeypatch.setattr(get_settings(), "password_sign_in", False)
    assert use(browser) == 403
    path = f"/people/{cast.people['annotator']}/password-link"
    assert cast.admin.submit(path).status_code == 403


def test_over_http(cast: Cast, app: Any) -> None:
    headers = {"X-CSRF-Token": cast.admin.token, "Accept": "application/json"}
    url = f"/api/v1/people/{cast.people['annotator']}/password-link"
    made = cast.admin.post(url, headers=headers)
    assert made.status_code == 201
    assert use(opened(app, made.json()["link"].removeprefix("http://testserver"))) == 303


def test_one_changes_ones_own_password(cast: Cast, app: Any) -> None:
    other = Browser(app)
    other.sign_in(EMAIL)
    wrong = cast.annotator.submit("/account/password", {"current": "wrong", "new": NEW})
    assert wrong.status_code == 422
    assert "not your password" in wrong.text
    done = cast.annotator.submit("/account/password", {"current": PASSWORD, "new": NEW})
    assert done.headers["Location"] == "/account?done=password"
    assert cast.annotator.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    assert signs_in(app, NEW)


def test_signing_out_everywhere_ends_every_session_and_no_key(cast: Cast, app: Any) -> None:
    other = Browser(app)
    other.sign_in(EMAIL)
    assert "In 2 browsers" in cast.annotator.get("/account").text
    assert cast.annotator.submit("/account/sessions/end").headers["Location"] == "/sign-in"
    for browser in (cast.annotator, other):
        assert browser.get("/projects").status_code == 303
    assert cast.owner.get("/projects").status_code == 200


def test_so_it_is_over_http(cast: Cast, app: Any) -> None:
    other = TestClient(app, base_url="http://testserver")
    body = {"email": EMAIL, "password": PASSWORD}
    csrf = other.post("/api/v1/sign-in", json=body).json()["csrf_token"]
    ended = other.delete("/api/v1/me/sessions", headers={"X-CSRF-Token": csrf})
    assert ended.status_code == 204
    assert cast.annotator.get("/projects").status_code == 303


def test_a_link_goes_with_its_person(cast: Cast) -> None:
    link_for(cast)
    form = {"email": EMAIL, "labels": "keep"}
    assert cast.admin.submit(f"/people/{cast.people['annotator']}/delete", form).status_code == 303
    with transaction() as session:
        assert session.scalars(select(PasswordLink)).all() == []
        assert session.get_one(Person, cast.people["annotator"]).deleted_at is not None
