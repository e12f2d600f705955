"""Pinning a policy, and what is shown of one whose files are gone."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import func, update

from app.database import transaction
from app.models import Event, Policy, Project
from app.settings import get_settings
from tests.pages.conftest import Cast, soup


def an_older_policy(cast: Cast) -> uuid.UUID:
    """Policy 2 of the cast's project is current, so the first one is old; its id."""
    with transaction() as session:
        newer = Policy(
            project_id=cast.project_id,
            number=2,
            kind="adapter",
            base_model="tiny",
            path="somewhere/else",
            size_bytes=5,
            metrics={"win_rate": 0.9},
        )
        session.add(newer)
        session.flush()
        session.get_one(Project, cast.project_id).policy_id = newer.id
        older = session.query(Policy).filter_by(project_id=cast.project_id, number=1).one()
        return older.id


def test_a_manager_pins_and_unpins(cast: Cast, policy_id: uuid.UUID) -> None:
    page = f"/policies/{policy_id}"
    assert "Pin: keep its files" in cast.owner.get(page).text
    assert "Pin: keep its files" not in cast.annotator.get(page).text
    assert cast.owner.submit(f"{page}/pin").headers["Location"] == f"{page}?done=pinned"
    assert soup(cast.owner.get(page)).find("h1").get_text().endswith("pinned")
    assert "pinned" in cast.owner.get(f"{cast.p}/policies").text
    assert cast.owner.get(f"/api/v1/policies/{policy_id}").json()["pinned"] is True
    assert cast.owner.submit(f"{page}/unpin").headers["Location"] == f"{page}?done=unpinned"
    assert cast.owner.get(f"/api/v1/policies/{policy_id}").json()["pinned"] is False
    assert cast.annotator.submit(f"{page}/pin").status_code == 403
    with transaction() as session:
        told = [e.kind for e in session.query(Event).order_by(Event.id) if "pinned" in e.kind]
    assert told == ["policy.pinned", "policy.unpinned"]


def test_it_is_pinned_over_rest_and_twice_is_once(cast: Cast, policy_id: uuid.UUID) -> None:
    token = {"X-CSRF-Token": cast.owner.token}
    path = f"/api/v1/policies/{policy_id}/pin"
    for _ in range(2):
        assert cast.owner.put(path, headers=token).json()["pinned"] is True
    assert cast.owner.delete(path, headers=token).json()["pinned"] is False
    assert cast.annotator.put(path, headers={"X-CSRF-Token": cast.annotator.token}).status_code == (
        403
    )


def test_the_system_page_says_what_would_go(
    cast: Cast, policy_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = an_older_policy(cast)
    assert "None would go now" in cast.admin.get("/admin/system").text
    monkeypatch.setattr(get_settings(), "keep_policies", 1)
    page = soup(cast.admin.get("/admin/system"))
    assert page.find("a", href=f"/policies/{older}") is not None
    told = cast.admin.get("/api/v1/system").json()["retention"]
    assert [one["number"] for one in told["would_go"]] == [1]
    assert (told["keep"], told["would_free_bytes"], told["waiting"]) == (1, 12, 0)


def test_what_is_gone_cannot_be_fetched_and_says_why(cast: Cast, policy_id: uuid.UUID) -> None:
    older = an_older_policy(cast)
    with transaction() as session:
        session.execute(
            update(Policy).where(Policy.id == older).values(removed_at=func.now(), files={})
        )
    page = cast.owner.get(f"/policies/{older}").text
    assert "removed by the rule of retention" in page
    for gone in ("Download", "Pin: keep", "Go back to this policy"):
        assert gone not in page
    for merged in ("false", "true"):
        answer = cast.owner.get(f"/api/v1/policies/{older}/download?merged={merged}")
        assert answer.status_code == 409
        assert "rule of retention" in answer.text
    assert cast.owner.submit(f"/policies/{older}/current").status_code == 409
    assert cast.admin.get("/api/v1/system").json()["retention"]["waiting"] == 1


def test_a_project_has_a_rule_of_its_own(cast: Cast) -> None:
    token = {"X-CSRF-Token": cast.owner.token}
    path = f"/api/v1/projects/{cast.project_id}"
    assert cast.owner.get(path).json()["keep_policies"] is None
    told = cast.owner.patch(path, json={"keep_policies": 3}, headers=token)
    assert told.json()["keep_policies"] == 3
    assert cast.owner.patch(path, json={"keep_policies": -1}, headers=token).status_code == 422
    field = soup(cast.owner.get(f"{cast.p}/settings")).find(
        "input", attrs={"name": "keep_policies"}
    )
    assert field["value"] == "3"
