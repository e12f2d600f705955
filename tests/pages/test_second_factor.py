"""The second step of signing in: set up, used, lost, taken out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
from sqlalchemy import Engine, select, text

from app.database import transaction
from app.errors import Invalid
from app.people import second_factor, sessions
from app.people.models import Person, RecoveryCode, SecondFactor
from app.settings import get_settings
from tests.pages.conftest import PASSWORD, Browser, Cast, soup
from tests.stack.test_cli import _run

EMAIL = "annotator@example.com"
HERE = {"email": EMAIL, "password": PASSWORD}


def code_of(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(time.time()) + 30 * steps)


def wrong_of(secret: str) -> str:
    near = {code_of(secret, n) for n in range(-3, 4)}
    return next(code for n in range(10) if (code := str(n) * 6) not in near)


def set_up(cast: Cast) -> tuple[str, list[str]]:
    """Turns it on as a person does; the secret and the recovery codes."""
    shown = cast.annotator.submit("/account/second-factor", {"password": PASSWORD})
    secret = str(soup(shown).find(id="secret").string).replace(" ", "")
    done = cast.annotator.submit("/account/second-factor/confirm", {"code": code_of(secret, -1)})
    assert done.status_code == 200, done.text
    return secret, str(soup(done).find(id="recovery").string).split()


def ticket_of(app: Any) -> tuple[Browser, str]:
    """A browser at the second step, and its ticket."""
    browser = Browser(app)
    asked = browser.sign_in(EMAIL)
    assert "Set-Cookie" not in asked.headers
    return browser, soup(asked).find("input", attrs={"name": "ticket"})["value"]


def by_code(app: Any, code: str) -> int:
    browser, ticket = ticket_of(app)
    return browser.post("/sign-in/code", data={"ticket": ticket, "code": code}).status_code


def test_set_up_and_signed_in_with(cast: Cast, app: Any) -> None:
    secret, recovery = set_up(cast)
    assert len(set(recovery)) == 10
    assert cast.annotator.get("/projects").status_code == 200  # this session goes on
    assert by_code(app, wrong_of(secret)) == 422
    assert by_code(app, code_of(secret)) == 303
    again = cast.annotator.get("/account")
    assert "10 recovery codes are left" in again.text
    for code in (secret, *recovery):
        assert code not in again.text


def test_the_picture_holds_the_address_and_breaks_no_policy(cast: Cast) -> None:
    shown = cast.annotator.submit("/account/second-factor", {"password": PASSWORD})
    page = soup(shown)
    picture = page.find("svg", class_="segno")
    assert picture.title.string
    assert page.find(attrs={"role": "img"})["aria-label"]
    assert "style=" not in str(picture)
    assert page.find("input", id="code")["autocomplete"] == "one-time-code"
    assert page.find("label", attrs={"for": "code"}) is not None
    secret = str(page.find(id="secret").string).replace(" ", "")
    with transaction() as s:
        person = s.get_one(Person, cast.people["annotator"])
        address = second_factor.address(person, secret)
    assert (
        address
        == f"otpauth://totp/ActiveDPO:annotator%40example.com?secret={secret}&issuer=ActiveDPO"
    )


def test_it_is_not_on_before_the_app_showed_a_code(cast: Cast, app: Any) -> None:
    assert cast.annotator.submit("/account/second-factor", {"password": "wrong"}).status_code == 422
    shown = cast.annotator.submit("/account/second-factor", {"password": PASSWORD})
    secret = str(soup(shown).find(id="secret").string).replace(" ", "")
    refused = cast.annotator.submit("/account/second-factor/confirm", {"code": wrong_of(secret)})
    assert refused.status_code == 422
    assert soup(refused).find("svg", class_="segno") is not None
    assert Browser(app).sign_in(EMAIL).status_code == 303


def test_a_code_works_once(cast: Cast, app: Any) -> None:
    secret, _ = set_up(cast)
    code = code_of(secret)
    browser, ticket = ticket_of(app)
    other, another = ticket_of(app)
    with ThreadPoolExecutor(2) as pool:
        tries = [
            pool.submit(one.post, "/sign-in/code", data={"ticket": held, "code": code})
            for one, held in ((browser, ticket), (other, another))
        ]
        assert sorted(t.result().status_code for t in tries) == [303, 422]
    assert by_code(app, code_of(secret, -1)) == 422  # nor does an older one


def test_a_recovery_code_works_once_and_is_kept_as_a_hash(cast: Cast, app: Any) -> None:
    _, recovery = set_up(cast)
    assert by_code(app, recovery[0].upper().replace("-", " ")) == 303
    assert by_code(app, recovery[0]) == 422
    with transaction() as s:
        stored = list(s.scalars(select(RecoveryCode)))
        sealed = s.scalars(select(SecondFactor.secret)).one()
    assert [row.used_at is not None for row in stored].count(True) == 1
    assert all(row.code_hash.startswith("$argon2id$") for row in stored)
    assert sealed.startswith("gAAAA")


def test_tries_are_limited_with_those_of_the_password(cast: Cast, app: Any) -> None:
    secret, _ = set_up(cast)
    browser, ticket = ticket_of(app)
    data = {"ticket": ticket, "code": wrong_of(secret)}
    for _ in range(40):  # a window of the limit may end in between
        if (status := browser.post("/sign-in/code", data=data).status_code) == 429:
            break
    assert status == 429
    # a right password in between gives no tries back
    assert browser.sign_in(EMAIL).status_code == 429
    data["code"] = code_of(secret)
    assert browser.post("/sign-in/code", data=data).status_code == 429


@pytest.mark.parametrize("ticket", ["", "none", "gAAAAABmade-up"])
def test_no_ticket_no_second_step(cast: Cast, app: Any, ticket: str) -> None:
    secret, _ = set_up(cast)
    data = {"ticket": ticket, "code": code_of(secret)}
    answer = Browser(app).post("/sign-in/code", data=data)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)


def test_a_ticket_ends_with_time_and_with_the_password(
    cast: Cast, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = set_up(cast)
    browser, ticket = ticket_of(app)
    data = {"ticket": ticket, "code": code_of(secret)}
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "TICKET_SECONDS", -1)
        assert browser.post("/sign-in/code", data=data).status_code == 401
    with transaction() as s:
        from app.people import actions

        actions.set_password(s, s.get_one(Person, cast.people["annotator"]), "quite another one")
    assert browser.post("/sign-in/code", data=data).status_code == 401


def test_scripts_send_the_code_along(cast: Cast, app: Any) -> None:
    secret, _ = set_up(cast)
    script = Browser(app)
    asked = script.post("/api/v1/sign-in", json=HERE)
    assert (asked.status_code, asked.json()["second_factor"]) == (401, True)
    wrong = script.post("/api/v1/sign-in", json={**HERE, "code": wrong_of(secret)})
    assert wrong.status_code == 422
    right = script.post("/api/v1/sign-in", json={**HERE, "code": code_of(secret)})
    assert right.status_code == 200
    without = script.post("/api/v1/sign-in", json={**HERE, "password": "wrong"})
    assert "second_factor" not in without.json()  # the password first: nobody learns who has one


def test_new_codes_and_off_take_a_code(cast: Cast, app: Any) -> None:
    secret, recovery = set_up(cast)
    for verb in ("codes", "off"):
        refused = cast.annotator.submit(
            f"/account/second-factor/{verb}", {"code": wrong_of(secret)}
        )
        assert refused.status_code == 422
    made = cast.annotator.submit("/account/second-factor/codes", {"code": recovery[1]})
    fresh = str(soup(made).find(id="recovery").string).split()
    assert set(fresh).isdisjoint(recovery)
    assert by_code(app, recovery[2]) == 422
    off = cast.annotator.submit("/account/second-factor/off", {"code": fresh[0]})
    assert off.status_code == 303
    assert Browser(app).sign_in(EMAIL).status_code == 303
    with transaction() as s:
        assert s.scalars(select(RecoveryCode)).all() == []


def test_other_sessions_end_when_it_is_turned_on(cast: Cast, app: Any) -> None:
    other = Browser(app)
    other.sign_in(EMAIL)
    set_up(cast)
    assert other.get("/projects").status_code == 303


def test_an_admin_takes_it_out_for_who_lost_the_phone(cast: Cast, app: Any) -> None:
    set_up(cast)
    person = cast.people["annotator"]
    assert "Reset second step" in cast.admin.get("/people").text
    assert cast.owner.submit(f"/people/{person}/second-factor/reset").status_code == 403
    assert cast.admin.submit(f"/people/{person}/second-factor/reset").status_code == 303
    assert cast.annotator.get("/projects").status_code == 303
    assert Browser(app).sign_in(EMAIL).status_code == 303


def test_so_does_the_command_line(cast: Cast, app: Any) -> None:
    set_up(cast)
    assert _run("user", "reset-second-factor", EMAIL).returncode == 0
    assert Browser(app).sign_in(EMAIL).status_code == 303


def test_with_another_secret_key_recovery_codes_still_open(
    cast: Cast, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, recovery = set_up(cast)
    with database.begin() as connection:
        connection.execute(text("UPDATE second_factors SET secret = 'sealed under another key'"))
    assert get_settings().secret_key is not None
    with transaction() as s:
        person = s.get_one(Person, cast.people["annotator"])
        with pytest.raises(Invalid):
            second_factor.check(s, person, code_of(secret), "here")
        second_factor.check(s, person, recovery[0], "here")
