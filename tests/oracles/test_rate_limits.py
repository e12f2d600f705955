"""Rates of API keys: off until an admin sets one; then 429 with Retry-After."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.database import transaction
from app.models import ApiKey, Person

Make = Callable[..., Any]


def key_of(it: Any) -> dict[str, Any]:
    return it.client.get("/api/v1/keys").json()["items"][0]


def make_admin(it: Any) -> None:
    with transaction() as s:
        s.get_one(Person, it.owner_id).role = "admin"


def test_a_key_has_no_limit_until_an_admin_sets_one(lab: Make, redis_url: str) -> None:
    it = lab(1)
    assert key_of(it)["rate_limit"] is None
    at = f"/api/v1/keys/{key_of(it)['id']}"
    assert it.client.patch(at, json={"rate_limit": "3/hour"}).status_code == 403
    make_admin(it)
    assert it.client.patch(at, json={"rate_limit": "3/hour"}).json()["rate_limit"] == "3/hour"
    answers = [it.client.get("/api/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 3600
    assert answers[-1].headers["content-type"] == "application/problem+json"


def test_anybody_may_limit_a_key_of_their_own(lab: Make, redis_url: str) -> None:
    it = lab(1)
    made = it.client.post("/api/v1/keys", json={"rate_limit": "1/second"})
    assert made.status_code == 201  # limiting one's own key takes nothing from anybody
    with transaction() as s:
        assert s.query(ApiKey).filter_by(rate_limit="1/second").count() == 1


@pytest.mark.parametrize("rate", ["often", "", "0/never", 7])
def test_what_is_no_rate(lab: Make, rate: Any) -> None:
    it = lab(1)
    sent = it.client.post("/api/v1/keys", json={"rate_limit": rate})
    assert sent.status_code == 422
    assert "rate_limit" in sent.json()["detail"]
