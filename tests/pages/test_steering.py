"""Pausing a project, quotas, and going back to a policy, on the pages."""

from __future__ import annotations

import uuid

from sqlalchemy import select

from app.database import transaction
from app.models import Policy, Project
from tests.pages.conftest import Cast, soup


def change(cast: Cast, **settings: object) -> None:
    token = {"X-CSRF-Token": cast.owner.token}
    answer = cast.owner.patch(f"/api/v1{cast.p}", json=settings, headers=token)
    assert answer.status_code == 200, answer.text


def rest(cast: Cast) -> str:
    return str(soup(cast.annotator.get(f"{cast.p}/label/rest")).find("h2").string)


def test_a_pause_is_said_where_one_waits(cast: Cast, labelling_round: uuid.UUID) -> None:
    change(cast, paused=True)
    assert rest(cast) == "Labelling is paused"
    assert soup(cast.owner.get(cast.p)).select_one("h1 .tag").string == "paused"
    change(cast, paused=False)
    assert rest(cast) == "Nothing left for you just now"


def test_who_has_had_their_share_is_told_and_thanked(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    change(cast, quota_per_round=1)
    token = {"X-CSRF-Token": cast.annotator.token}
    claims = f"/api/v1{cast.p}/claims"
    held = cast.annotator.post(claims, json={"count": 2}, headers=token).json()["items"]
    assert len(held) == 1
    assert rest(cast).startswith("You have answered your share")


def test_settings_keep_quotas(cast: Cast) -> None:
    change(cast, quota=7, quota_per_round=3)
    page = soup(cast.owner.get(f"{cast.p}/settings"))
    assert page.find(id="quota")["value"] == "7"
    assert page.find(id="quota_per_round")["value"] == "3"


def test_an_owner_goes_back_to_an_earlier_policy(cast: Cast, policy_id: uuid.UUID) -> None:
    with transaction() as session:
        base = session.scalars(select(Policy.id).where(Policy.number == 0)).one()
    shown = soup(cast.annotator.get(f"/policies/{base}"))
    assert shown.find("form", action=f"/policies/{base}/current") is None
    shown = soup(cast.owner.get(f"/policies/{base}"))
    assert shown.find("form", action=f"/policies/{base}/current") is not None
    answer = cast.owner.submit(f"/policies/{base}/current")
    assert answer.headers["Location"] == f"/policies/{base}?done=current"
    with transaction() as session:
        assert session.get_one(Project, cast.project_id).policy_id == base
    token = {"X-CSRF-Token": cast.owner.token}
    back = cast.owner.put(f"/api/v1{cast.p}/policy", json={"policy": str(policy_id)}, headers=token)
    assert back.json()["id"] == str(policy_id)
    assert cast.annotator.submit(f"/policies/{base}/current").status_code == 403
