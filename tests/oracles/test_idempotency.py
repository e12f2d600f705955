"""Idempotency-Key: what was done once is told again, not done again."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from app.database import transaction
from app.idempotency import actions
from app.models import ApiKey, KeptAnswer, Person, Project, Webhook
from worker.reconciler import reconcile

Make = Callable[..., Any]
REPLAYED = "Idempotency-Replayed"


def named(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def count(table: type[Any]) -> int:
    with transaction() as s:
        return s.scalar(select(func.count()).select_from(table)) or 0


def make_admin(it: Any) -> None:
    with transaction() as s:
        s.get_one(Person, it.owner_id).role = "admin"


def calls(it: Any) -> list[tuple[str, Any]]:
    """Every call that takes the header, in an order in which all succeed."""
    pair = {"prompt": "p", "completion_a": "x", "completion_b": "y"}
    return [
        ("/api/v1/projects", {"name": "Another"}),
        ("/api/v1/people", {"email": "new@example.org"}),
        ("/api/v1/keys", {"name": "k", "scope": "oracle"}),
        (f"{it.at}/webhooks", {"url": "http://127.0.0.1:9/"}),
        (f"{it.at}/prompts", {"prompts": [{"prompt": "new"}]}),
        (f"{it.at}/pairs", {"pairs": [pair]}),
        (f"{it.at}/rounds", None),
        (f"{it.at}/claims", {"count": 2}),
    ]


def test_every_call_that_takes_one_is_done_once(
    lab: Make, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "true")
    forget()
    it = lab(5)
    make_admin(it)
    for path, body in calls(it):
        key = str(uuid.uuid4())
        first = it.client.post(path, json=body, headers=named(key))
        assert first.status_code in (200, 201, 202), (path, first.text)
        assert REPLAYED not in first.headers
        again = it.client.post(path, json=body, headers=named(key))
        assert (again.status_code, again.json()) == (first.status_code, first.json()), path
        assert again.headers[REPLAYED] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
    assert (count(Project), count(Webhook), count(ApiKey)) == (2, 1, 2)
    assert len(it.claims("live")) == 2
    items = [{"claim": str(claim.id), "choice": "left"} for claim in it.claims("live")]
    sent = [
        it.client.post("/api/v1/claims/preferences", json={"items": items}, headers=named("a"))
        for _ in range(2)
    ]
    assert [one["status"] for one in sent[1].json()["items"]] == [201, 201]
    assert sent[1].headers[REPLAYED] == "true"


def test_another_request_under_the_same_key_is_refused(lab: Make) -> None:
    it = lab(5)
    it.open()
    assert it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k")).is_success
    for path, body in ((f"{it.at}/claims", {"count": 2}), (f"{it.at}/claims?html=1", {"count": 1})):
        other = it.client.post(path, json=body, headers=named("k"))
        assert other.status_code == 422
        assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert len(it.claims("live")) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "ümlaut".encode()])
def test_what_is_no_key(lab: Make, key: Any) -> None:
    it = lab(1)
    it.open()
    sent = it.client.post(
        f"{it.at}/claims", json={"count": 1}, headers=[(b"Idempotency-Key", _bytes(key))]
    )
    assert sent.status_code == 422
    assert "Idempotency-Key" in sent.text or "idempotency-key" in sent.text


def _bytes(key: Any) -> bytes:
    return key if isinstance(key, bytes) else key.encode()


def test_keys_of_different_callers_have_nothing_to_do_with_each_other(lab: Make) -> None:
    it = lab(2)
    it.open()
    other = it.more("other")
    one = it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k")).json()
    two = other.post(f"{it.at}/claims", json={"count": 1}, headers=named("k")).json()
    assert one["items"][0]["id"] != two["items"][0]["id"]


def test_a_refused_call_may_be_sent_again(lab: Make) -> None:
    it = lab(2)
    it.open()
    assert it.client.post(f"{it.at}/rounds", headers=named("k")).status_code == 409
    with transaction() as s:
        from app.rounds import actions as rounds

        rounds.cancel(s, it.round(), None)
    assert it.client.post(f"{it.at}/rounds", headers=named("k")).status_code == 202


def test_an_empty_handful_is_not_kept(lab: Make) -> None:
    it = lab(2)
    body = {"count": 1}
    assert it.client.post(f"{it.at}/claims", json=body, headers=named("k")).json()["items"] == []
    it.open()
    assert it.client.post(f"{it.at}/claims", json=body, headers=named("k")).json()["items"]


def test_a_long_poll_is_done_once(lab: Make) -> None:
    it = lab(3)
    got: list[Any] = []

    def poll() -> None:
        sent = it.client.post(
            f"{it.at}/claims", json={"count": 1, "wait": 20}, headers=named("poll")
        )
        got.append(sent)

    threads = [threading.Thread(target=poll) for _ in range(3)]
    for thread in threads:
        thread.start()
    it.open()
    for thread in threads:
        thread.join()
    told = {sent.json()["items"][0]["id"] for sent in got if sent.status_code == 200}
    assert len(told) == 1
    assert {sent.status_code for sent in got} <= {200, 409}
    assert len(it.claims("live")) == 1


def test_two_threads_with_one_key_make_one_project(lab: Make) -> None:
    it = lab(1)
    make_admin(it)
    start = threading.Barrier(6)
    got: list[Any] = []

    def send() -> None:
        start.wait()
        got.append(it.client.post("/api/v1/projects", json={"name": "Once"}, headers=named("once")))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {sent.status_code for sent in got} <= {201, 409}
    made = {sent.json()["id"] for sent in got if sent.status_code == 201}
    assert len(made) == 1
    assert all(sent.headers["Retry-After"] for sent in got if sent.status_code == 409)
    assert count(Project) == 2


def test_a_call_under_way_is_told_to_wait(lab: Make) -> None:
    it = lab(2)
    it.open()
    with transaction() as s:
        caller = s.scalars(select(ApiKey.id)).one()
        asked = actions.Asked(caller, it.owner_id, "k", "")
        assert actions.answer_to(s, asked) is None  # and holds the key while this block lasts
        busy = it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k"))
    assert (busy.status_code, busy.headers["Retry-After"]) == (409, "1")
    assert it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k")).is_success


def test_a_file_sent_again_is_imported_once(lab: Make) -> None:
    it = lab(1)
    raw = b'{"prompt": "one"}\n{"prompt": "two"}\n'
    for again in (False, True):
        sent = it.client.post(
            f"{it.at}/prompts", files={"file": ("p.jsonl", raw)}, headers=named("form")
        )
        assert sent.json()["added"] == 2
        assert (REPLAYED in sent.headers) is again
        kind = {"Content-Type": "application/jsonl"}
        sent = it.client.post(f"{it.at}/prompts", content=raw, headers=named("raw") | kind)
        assert sent.json()["duplicates"] == 2
        assert (REPLAYED in sent.headers) is again
    other = it.client.post(
        f"{it.at}/prompts", files={"file": ("p.jsonl", raw * 2)}, headers=named("form")
    )
    assert other.status_code == 422


def test_secrets_are_kept_sealed_and_old_answers_are_swept(lab: Make) -> None:
    it = lab(1)
    made = it.client.post("/api/v1/keys", json={"name": "k"}, headers=named("k")).json()
    with transaction() as s:
        kept = s.scalars(select(KeptAnswer)).one()
        assert made["key"] not in kept.answer
        kept.created_at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=23)
    reconcile()
    assert it.client.post("/api/v1/keys", json={"name": "k"}, headers=named("k")).json() == made
    with transaction() as s:
        kept = s.scalars(select(KeptAnswer)).one()
        kept.created_at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=25)
    anew = it.client.post("/api/v1/keys", json={"name": "k"}, headers=named("k")).json()
    assert anew["id"] != made["id"]
    with transaction() as s:
        kept = s.scalars(select(KeptAnswer)).one()
        kept.created_at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=25)
    reconcile()
    assert count(KeptAnswer) == 0


def test_a_revoked_key_is_told_nothing(lab: Make) -> None:
    it = lab(2)
    it.open()
    it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k"))
    with transaction() as s:
        s.scalars(select(ApiKey)).one().revoked_at = dt.datetime.now(dt.UTC)
    again = it.client.post(f"{it.at}/claims", json={"count": 1}, headers=named("k"))
    assert again.status_code == 401


def test_the_document_tells_of_it(lab: Make) -> None:
    document = lab(1).client.get("/openapi.json").json()
    taking = {
        path
        for path, operations in document["paths"].items()
        for one in operations.get("post", {}).get("parameters", [])
        if one["name"] == "Idempotency-Key"
    }
    assert {path.removeprefix("/api/v1") for path in taking} == {
        "/projects",
        "/people",
        "/keys",
        "/keys/{key_id}/rotate",
        "/claims/preferences",
        "/projects/{project_id}/prompts",
        "/projects/{project_id}/pairs",
        "/projects/{project_id}/rounds",
        "/projects/{project_id}/claims",
        "/projects/{project_id}/webhooks",
        "/projects/{project_id}/invitations",
        "/projects/{project_id}/evaluations",
        "/projects/{project_id}/outputs",
        "/projects/{project_id}/trials",
        "/invitations",
        "/groups",
    }
