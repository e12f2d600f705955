"""Browser sessions: who gets one, when it ends, what it takes to use it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import transaction
from app.people import access, passwords, sessions, throttle
from app.people.models import SignIn
from app.settings import get_settings

PASSWORD = "a long enough password"
SIGN_IN, ME, PROJECTS = "/api/v1/sign-in", "/api/v1/me", "/api/v1/projects"


def sign_in(client: TestClient, email: str, password: str = PASSWORD) -> Any:
    return client.post(SIGN_IN, json={"email": email, "password": password})


def test_a_session_is_a_cookie_that_scripts_cannot_read(cast: Any, anyone: TestClient) -> None:
    answer = sign_in(anyone, "  Owner@Example.com ")
    assert answer.status_code == 200
    assert answer.json()["person"]["email"] == "owner@example.com"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert anyone.get(ME).json()["email"] == "owner@example.com"


def test_over_tls_the_cookie_is_secure(
    cast: Any, anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "secure_cookies", True)
    assert "Secure" in sign_in(anyone, "owner@example.com").headers["Set-Cookie"]


def test_only_the_hash_of_the_token_is_stored(cast: Any, anyone: TestClient, db: Session) -> None:
    sign_in(anyone, "owner@example.com")
    token = anyone.cookies[access.COOKIE]
    assert db.scalars(select(SignIn.token_hash)).one() == access.token_hash(token)
    assert token not in db.scalars(select(SignIn.csrf_token)).one()


def test_signing_in_again_ends_the_session_before(cast: Any, anyone: TestClient) -> None:
    sign_in(anyone, "owner@example.com")
    old = anyone.cookies[access.COOKIE]
    sign_in(anyone, "owner@example.com")
    assert anyone.cookies[access.COOKIE] != old
    anyone.cookies.clear()
    anyone.cookies.set(access.COOKIE, old)
    assert anyone.get(ME).status_code == 401


def test_unsafe_calls_with_a_cookie_need_the_csrf_token(cast: Any, anyone: TestClient) -> None:
    csrf = sign_in(anyone, "admin@example.com").json()["csrf_token"]
    body = {"name": "New", "base_model": "tiny"}
    assert anyone.post(PROJECTS, json=body).status_code == 403
    wrong = anyone.post(PROJECTS, json=body, headers={"X-CSRF-Token": "wrong"})
    assert wrong.status_code == 403
    assert anyone.post(PROJECTS, json=body, headers={"X-CSRF-Token": csrf}).status_code == 201


def test_signing_out_ends_it(cast: Any, anyone: TestClient, db: Session) -> None:
    csrf = sign_in(anyone, "owner@example.com").json()["csrf_token"]
    assert anyone.post("/api/v1/sign-out").status_code == 403
    out = anyone.post("/api/v1/sign-out", headers={"X-CSRF-Token": csrf})
    assert out.status_code == 204
    assert anyone.get(ME).status_code == 401
    assert db.scalars(select(SignIn)).all() == []


@pytest.mark.parametrize(
    "ended",
    [
        {"expires_at": access.now() - dt.timedelta(seconds=1)},
        {"last_seen_at": access.now() - access.IDLE_END - dt.timedelta(seconds=1)},
    ],
)
def test_a_session_ends_by_age_and_by_idleness(
    cast: Any, anyone: TestClient, ended: dict[str, Any]
) -> None:
    sign_in(anyone, "owner@example.com")
    with transaction() as session:
        session.execute(update(SignIn).values(**ended))
    assert anyone.get(ME).status_code == 401
    sign_in(anyone, "owner@example.com")
    with transaction() as session:
        assert len(session.scalars(select(SignIn)).all()) == 1


def test_use_is_noted_at_most_once_a_minute(cast: Any, anyone: TestClient, db: Session) -> None:
    sign_in(anyone, "owner@example.com")
    for age, noted in ((dt.timedelta(seconds=30), False), (dt.timedelta(seconds=90), True)):
        before = access.now() - age
        with transaction() as session:
            session.execute(update(SignIn).values(last_seen_at=before))
        assert anyone.get(ME).status_code == 200
        with transaction() as session:
            assert (session.scalars(select(SignIn.last_seen_at)).one() != before) is noted


@pytest.mark.parametrize("email", ["owner@example.com", "nobody@example.com", "x", "a\x00@b.c"])
def test_a_wrong_password_and_an_unknown_person_look_the_same(
    cast: Any, anyone: TestClient, email: str
) -> None:
    answer = sign_in(anyone, email, "wrong")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "The e-mail address or the password is wrong."
    assert "Set-Cookie" not in answer.headers


def test_somebody_without_a_password_is_verified_as_long(
    cast: Any, anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    hasher = passwords._hasher

    class Counting:
        def verify(self, stored: str, password: str) -> bool:
            verified.append(stored)
            return hasher.verify(stored, password)

        hash = staticmethod(hasher.hash)

    monkeypatch.setattr(passwords, "_hasher", Counting())
    sign_in(anyone, "nobody@example.com", "wrong")
    sign_in(anyone, "owner@example.com", "wrong")
    assert len(verified) == 2


@pytest.mark.parametrize("broker", ["shared", "unreachable"])
def test_tries_are_limited_and_the_right_password_waits_too(
    cast: Any, anyone: TestClient, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broker == "unreachable":
        monkeypatch.setattr(get_settings(), "redis_url", "redis://127.0.0.1:1/0")
        throttle._shared.cache_clear()
    throttle._memory.reset()
    tries = [sign_in(anyone, "owner@example.com", "wrong").status_code for _ in range(9)]
    assert tries == [401] * 8 + [429]
    late = sign_in(anyone, "owner@example.com")
    assert late.status_code == 429
    assert 0 < int(late.headers["Retry-After"]) <= 60
    assert sign_in(anyone, "admin@example.com").status_code == 200
    throttle._memory.reset()


def test_successes_use_up_no_tries(cast: Any, anyone: TestClient) -> None:
    assert {sign_in(anyone, "owner@example.com").status_code for _ in range(120)} == {200}


def test_one_place_cannot_try_everybody(cast: Any, anyone: TestClient) -> None:
    tries = [sign_in(anyone, f"p{n}@example.com", "wrong").status_code for n in range(101)]
    assert tries == [401] * 100 + [429]


def test_a_changed_password_ends_the_other_sessions(cast: Any, app: Any, anyone: Any) -> None:
    other = TestClient(app)
    sign_in(other, "owner@example.com")
    headers = {"X-CSRF-Token": sign_in(anyone, "owner@example.com").json()["csrf_token"]}
    wrong = {"current": "wrong", "new": "another long password"}
    url = "/api/v1/me/password"
    assert anyone.put(url, json=wrong, headers=headers).status_code == 422
    short = {"current": PASSWORD, "new": "short"}
    assert anyone.put(url, json=short, headers=headers).status_code == 422
    right = {"current": PASSWORD, "new": "another long password"}
    assert anyone.put(url, json=right, headers=headers).status_code == 204
    assert anyone.get(ME).status_code == 200
    assert other.get(ME).status_code == 401
    assert cast.owner.put(url, json=right).status_code == 403
    assert sign_in(other, "owner@example.com", "another long password").status_code == 200


def test_old_hashes_are_made_anew_at_sign_in(cast: Any, db: Session, monkeypatch: Any) -> None:
    from argon2 import PasswordHasher

    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(2, 16, 1))
    new = sessions.sign_in(db, "owner@example.com", PASSWORD, "here")
    assert "t=2" in (new.person.password_hash or "")
