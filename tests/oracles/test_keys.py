"""Keys of oracles: an end, a successor, when they were last used, and no more than a hash."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from app.database import transaction
from app.models import ApiKey, Event

Make = Callable[..., Any]
ME = "/api/v1/me"


def made(it: Any, **more: Any) -> dict[str, Any]:
    body = {"scope": "oracle", "project": str(it.project_id), **more}
    sent = it.client.post("/api/v1/keys", json=body)
    assert sent.status_code == 201, sent.text
    return sent.json()


def status(it: Any, secret: str, path: str = ME) -> int:
    client: TestClient = it.client
    return client.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code


def rotate(it: Any, key: dict[str, Any], **body: Any) -> Any:
    return it.client.post(f"/api/v1/keys/{key['id']}/rotate", json=body)


def stored(key: dict[str, Any]) -> ApiKey:
    with transaction() as s:
        return s.get_one(ApiKey, uuid.UUID(key["id"]))


def test_a_key_ends_when_it_was_said_to(lab: Make) -> None:
    it = lab(1)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    key = made(it, expires_at=soon.isoformat())
    assert status(it, key["key"]) == 200
    with transaction() as s:
        row = s.get_one(ApiKey, uuid.UUID(key["id"]))
        row.expires_at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    assert status(it, key["key"]) == 401
    assert rotate(it, key).status_code == 409


def test_a_key_tells_when_it_was_last_used(lab: Make) -> None:
    it = lab(1)
    key = made(it)
    assert stored(key).last_used_at is None
    status(it, key["key"])
    listed = {one["id"]: one for one in it.client.get("/api/v1/keys").json()["items"]}
    assert listed[key["id"]]["last_used_at"] is not None


def test_no_table_holds_a_key(lab: Make) -> None:
    it = lab(1)
    secret = made(it)["key"]
    with transaction() as s:
        names = s.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for name in names.all():
            rows = s.execute(text(f'SELECT t::text FROM "{name}" t')).scalars()
            assert not any(secret in row for row in rows), name


def test_a_successor_may_do_the_same(lab: Make) -> None:
    it, other = lab(1), lab(1)
    key = made(it, name="judge", rate_limit="100/hour")
    new = rotate(it, key).json()
    assert new["key"] != key["key"]
    assert new["id"] != key["id"]
    assert (status(it, key["key"]), status(it, new["key"])) == (401, 200)
    old, row = stored(key), stored(new)
    for same in ("name", "scope", "project_id", "person_id", "rate_limit", "expires_at"):
        assert getattr(old, same) == getattr(row, same)
    assert status(it, new["key"], it.at) == 200
    assert status(it, new["key"], other.at) == 404
    assert rotate(it, key).status_code == 409  # a key has one successor


def test_both_work_while_they_overlap(lab: Make) -> None:
    it = lab(1)
    key = made(it)
    new = rotate(it, key, overlap=600).json()
    assert (status(it, key["key"]), status(it, new["key"])) == (200, 200)
    ends = stored(key).expires_at
    left = (ends - dt.datetime.now(dt.UTC)).total_seconds()
    assert 0 < left <= 600
    assert stored(new).expires_at is None


@pytest.mark.parametrize("overlap", [-1, 604_801, "long", None])
def test_what_is_no_overlap(lab: Make, overlap: Any) -> None:
    it = lab(1)
    assert rotate(it, made(it), overlap=overlap).status_code == 422


def test_who_may_not_rotate(lab: Make) -> None:
    it, other = lab(1), lab(1)
    key = made(it)
    assert other.client.post(f"/api/v1/keys/{key['id']}/rotate", json={}).status_code == 404
    own = {"Authorization": f"Bearer {key['key']}"}
    itself = it.client.post(f"/api/v1/keys/{key['id']}/rotate", json={}, headers=own)
    assert itself.status_code == 403
    narrow = made(it, scope="admin")  # an admin's scope, of one project
    with transaction() as s:
        wide = s.scalars(select(ApiKey).where(ApiKey.project_id.is_(None))).first()
    assert wide is not None
    sent = it.client.post(
        f"/api/v1/keys/{wide.id}/rotate",
        json={},
        headers={"Authorization": f"Bearer {narrow['key']}"},
    )
    assert sent.status_code in (403, 404)


def test_the_log_tells_of_a_keys_whole_life(lab: Make) -> None:
    it = lab(1)
    first = made(it)
    second = rotate(it, first, overlap=0).json()
    it.client.delete(f"/api/v1/keys/{second['id']}")
    with transaction() as s:
        events = s.scalars(select(Event).where(Event.kind.like("key.%")).order_by(Event.id))
        told = [e for e in events if e.data["key"] in (first["id"], second["id"])]
    assert [(e.kind, e.data["key"]) for e in told] == [
        ("key.created", first["id"]),
        ("key.created", second["id"]),
        ("key.revoked", first["id"]),
        ("key.revoked", second["id"]),
    ]
    assert {str(e.project_id) for e in told} == {str(it.project_id)}
    assert all(e.person_id is not None for e in told)
    assert first["key"] not in str([e.data for e in told])
