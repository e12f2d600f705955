"""People, their keys and their memberships: who may make, see and end them."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import transaction
from app.people import access, actions, bootstrap
from app.people.models import ApiKey, Person
from app.settings import Settings, get_settings

KEYS, PEOPLE, ME, PROJECTS = "/api/v1/keys", "/api/v1/people", "/api/v1/me", "/api/v1/projects"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer adpo_x", "Basic YTpi", "\xff"])
def test_without_a_valid_key_nothing_answers(cast: Any, anyone: TestClient, header: str) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    for path in (ME, PROJECTS, KEYS, PEOPLE, cast.project):
        answer = anyone.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_is_shown_once_and_stored_as_its_hash(cast: Any, db: Session) -> None:
    made = cast.owner.post(KEYS, json={"name": "script", "scope": "annotator"})
    assert made.status_code == 201
    secret = made.json()["key"]
    assert secret.startswith("adpo_")
    key = db.get(ApiKey, uuid.UUID(made.json()["id"]))
    assert key is not None
    assert key.key_hash == access.token_hash(secret)
    listed = cast.owner.get(KEYS)
    assert secret not in listed.text
    assert made.json()["id"] in listed.text
    assert made.json()["id"] not in cast.stranger.get(KEYS).text
    assert made.json()["id"] in cast.admin.get(KEYS).text


@pytest.mark.parametrize(
    "ended",
    [
        {"revoked_at": access.now()},
        {"expires_at": access.now() - dt.timedelta(seconds=1)},
    ],
)
def test_a_key_that_ended_is_unknown(cast: Any, ended: dict[str, Any]) -> None:
    assert cast.owner.get(ME).status_code == 200
    with transaction() as session:
        mine = ApiKey.person_id == cast.owner.id
        session.execute(update(ApiKey).where(mine).values(**ended))
    assert cast.owner.get(ME).status_code == 401


def test_the_last_use_of_a_key_is_noted(cast: Any, db: Session) -> None:
    mine = select(ApiKey.last_used_at).where(ApiKey.person_id == cast.owner.id)
    assert db.scalars(mine).one() is None
    cast.owner.get(ME)
    db.rollback()
    noted = db.scalars(mine).one()
    cast.owner.get(ME)
    db.rollback()
    assert db.scalars(mine).one() == noted


def test_a_key_for_one_project_reaches_nothing_else(cast: Any, anyone: TestClient) -> None:
    other = cast.admin.post(PROJECTS, json={"name": "Other", "base_model": "tiny"}).json()["id"]
    body = {"scope": "admin", "project": str(cast.project_id)}
    secret = cast.admin.post(KEYS, json=body).json()["key"]
    headers = bearer(secret)
    assert anyone.get(cast.project, headers=headers).status_code == 200
    assert anyone.get(f"{PROJECTS}/{other}", headers=headers).status_code == 404
    listed = anyone.get(PROJECTS, headers=headers).json()["items"]
    assert [item["id"] for item in listed] == [str(cast.project_id)]
    new = anyone.post(PROJECTS, json={"name": "x", "base_model": "y"}, headers=headers)
    assert new.status_code == 403
    assert anyone.get(PEOPLE, headers=headers).status_code == 403
    assert anyone.post(KEYS, json={}, headers=headers).status_code == 403
    assert anyone.post(KEYS, json=body, headers=headers).status_code == 201


@pytest.mark.parametrize("scope", ["annotator", "oracle"])
def test_a_narrow_key_does_not_administer(cast: Any, anyone: TestClient, scope: str) -> None:
    headers = bearer(cast.admin.post(KEYS, json={"scope": scope}).json()["key"])
    assert anyone.get(cast.project, headers=headers).status_code == 200
    assert anyone.patch(cast.project, json={"name": "x"}, headers=headers).status_code == 403
    assert anyone.post(KEYS, json={"scope": "admin"}, headers=headers).status_code == 403
    assert anyone.get(PEOPLE, headers=headers).status_code == 403
    assert anyone.post(PROJECTS, json={"name": "x"}, headers=headers).status_code == 403


def test_keys_are_revoked_by_their_person_or_an_admin(cast: Any) -> None:
    one, two = (cast.owner.post(KEYS, json={}).json()["id"] for _ in range(2))
    assert cast.stranger.delete(f"{KEYS}/{one}").status_code == 404
    assert cast.owner.delete(f"{KEYS}/{one}").status_code == 204
    assert cast.admin.delete(f"{KEYS}/{two}").status_code == 204
    assert cast.owner.delete(f"{KEYS}/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "root"}, "scope"),
        ({"project": str(uuid.uuid4())}, "project"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2101-01-01T00:00:00"}, "expires_at"),
        ({"name": "a\x00"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_key_that_cannot_be_names_its_field(cast: Any, body: dict[str, Any], field: str) -> None:
    answer = cast.admin.post(KEYS, json=body)
    assert answer.status_code in (422, 404)
    assert field in answer.text


def test_people_are_the_admins_business(cast: Any, anyone: TestClient) -> None:
    body = {"email": "New@Example.com", "name": "New", "password": "a long enough password"}
    for somebody in (cast.owner, cast.annotator, cast.stranger):
        assert somebody.get(PEOPLE).status_code == 403
        assert somebody.post(PEOPLE, json=body).status_code == 403
        assert somebody.get(f"{PEOPLE}/{cast.admin.id}").status_code == 403
        changed = somebody.patch(f"{PEOPLE}/{somebody.id}", json={"role": "admin"})
        assert changed.status_code == 403
    made = cast.admin.post(PEOPLE, json=body)
    assert made.status_code == 201
    assert made.json()["email"] == "new@example.com"
    assert "password" not in made.text
    assert cast.admin.post(PEOPLE, json=body).status_code == 409
    assert made.json()["id"] in cast.admin.get(PEOPLE).text
    assert cast.admin.get(f"{PEOPLE}/{uuid.uuid4()}").status_code == 404


@pytest.mark.parametrize("email", ["", "x", "a b@c", "a@b\x00", "a@\ud800", "@", "a@b@c"])
def test_an_address_that_is_none_is_refused(cast: Any, email: str) -> None:
    import json

    answer = cast.admin.post(
        PEOPLE,
        content=json.dumps({"email": email}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "email"


def test_who_is_made_inactive_is_out_at_once(cast: Any, anyone: TestClient) -> None:
    body = {"email": "owner@example.com", "password": "a long enough password"}
    anyone.post("/api/v1/sign-in", json=body)
    assert anyone.get(ME).status_code == 200
    url = f"{PEOPLE}/{cast.owner.id}"
    assert cast.admin.patch(url, json={"active": False}).json()["active"] is False
    assert anyone.get(ME).status_code == 401
    assert cast.owner.get(ME).status_code == 401
    assert anyone.post("/api/v1/sign-in", json=body).status_code == 401
    cast.admin.patch(url, json={"active": True})
    assert cast.owner.get(ME).status_code == 200


def test_the_last_admin_stays(cast: Any) -> None:
    me = f"{PEOPLE}/{cast.admin.id}"
    assert cast.admin.patch(me, json={"role": "member"}).status_code == 409
    assert cast.admin.patch(me, json={"active": False}).status_code == 409
    cast.admin.patch(f"{PEOPLE}/{cast.owner.id}", json={"role": "admin"})
    assert cast.admin.patch(me, json={"role": "member"}).status_code == 200


def test_members_are_the_project_managers_business(cast: Any) -> None:
    url = f"{cast.project}/members"
    body = {"email": "stranger@example.com", "role": "annotator"}
    assert cast.stranger.get(url).status_code == 404
    assert cast.stranger.post(url, json=body).status_code == 404
    assert cast.annotator.post(url, json=body).status_code == 403
    assert cast.stranger.get(cast.project).status_code == 404
    assert cast.owner.post(url, json=body).status_code == 201
    assert cast.stranger.get(cast.project).status_code == 200
    roles = {item["email"]: item["role"] for item in cast.owner.get(url).json()["items"]}
    assert roles == {
        "owner@example.com": "owner",
        "annotator@example.com": "annotator",
        "stranger@example.com": "annotator",
    }
    one = f"{url}/{cast.stranger.id}"
    assert cast.annotator.delete(one).status_code == 403
    assert cast.owner.delete(one).status_code == 204
    assert cast.owner.delete(one).status_code == 404
    assert cast.stranger.delete(one).status_code == 404


def test_a_project_keeps_an_owner(cast: Any) -> None:
    url = f"{cast.project}/members"
    me = {"person": str(cast.owner.id), "role": "annotator"}
    assert cast.owner.post(url, json=me).status_code == 409
    assert cast.owner.delete(f"{url}/{cast.owner.id}").status_code == 409
    other = {"person": str(cast.annotator.id), "role": "owner"}
    assert cast.owner.post(url, json=other).json()["role"] == "owner"
    assert cast.owner.post(url, json=me).status_code == 201


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "nobody@example.com"}, 404),
        ({"person": str(uuid.uuid4())}, 404),
        ({}, 422),
        ({"email": "stranger@example.com", "role": "king"}, 422),
        ({"email": "a\x00@b"}, 422),
    ],
)
def test_a_member_that_cannot_be_is_refused(cast: Any, body: dict[str, Any], status: int) -> None:
    assert cast.owner.post(f"{cast.project}/members", json=body).status_code == status


@pytest.fixture
def first_start(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings as an operator gives them for the first start."""
    values = {"EMAIL": "Root@Example.com", "PASSWORD": "pw of the operator"}
    for name, value in values.items():
        monkeypatch.setenv(f"ACTIVEDPO_ADMIN_{name}", value)
    monkeypatch.setenv("ACTIVEDPO_API_KEY", "any string, of twenty or more: é")
    get_settings.cache_clear()
    yield get_settings()
    monkeypatch.undo()
    get_settings.cache_clear()


def test_the_first_start_makes_admin_and_key_once(
    database: Any, first_start: Settings, db: Session
) -> None:
    with ThreadPoolExecutor(4) as pool:
        for start in [pool.submit(bootstrap.at_start) for _ in range(8)]:
            start.result()
    admin = db.scalars(select(Person)).one()
    assert (admin.email, admin.role) == ("root@example.com", "admin")
    assert db.scalars(select(ApiKey.scope)).one() == "admin"


def test_the_given_key_and_password_work_and_stay_changed(app: Any, first_start: Settings) -> None:
    with TestClient(app) as client:
        key = {"Authorization": "Bearer any string, of twenty or more: é".encode()}
        assert client.get(ME, headers=key).json()["role"] == "admin"
        body = {"email": "root@example.com", "password": "pw of the operator"}
        assert client.post("/api/v1/sign-in", json=body).status_code == 200
    with transaction() as session:
        admin = session.scalars(select(Person)).one()
        actions.set_password(session, admin, "changed by the operator")
        actions.revoke_key(session, session.scalars(select(ApiKey)).one())
    with TestClient(app) as client:
        assert client.get(ME, headers=key).status_code == 401
        assert client.post("/api/v1/sign-in", json=body).status_code == 401


def test_a_start_before_the_migrations_is_survived(
    environment: Any, monkeypatch: pytest.MonkeyPatch, first_start: Settings
) -> None:
    from app.database import get_engine

    with get_engine().begin() as connection:
        connection.exec_driver_sql("ALTER TABLE people RENAME TO hidden")
    try:
        bootstrap.at_start()
    finally:
        with get_engine().begin() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO people")
