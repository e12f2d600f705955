"""Pausing a project, quotas, and going back to a policy, on the pages."""

from __future__ import annotations

import uuid

from sqlalchemy import select

from app.database import transaction
from app.models import Policy, Project
from tests.pages.conftest import SECRET_NAME, Cast, soup


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


def test_a_project_is_archived_and_taken_out_again(cast: Cast) -> None:
    page = soup(cast.owner.get(f"{cast.p}/settings"))
    assert page.find("form", action=f"{cast.p}/archive") is not None
    answer = cast.owner.submit(f"{cast.p}/archive")
    assert answer.headers["Location"].endswith("?done=archived")
    assert soup(cast.owner.get(cast.p)).select_one("h1 .tag").string == "archived"
    assert "archived" in soup(cast.owner.get("/projects")).select_one("tbody .tag").string
    page = soup(cast.owner.get(f"{cast.p}/settings"))
    assert page.find("form", action=f"{cast.p}/archive") is None
    cast.owner.submit(f"{cast.p}/unarchive")
    assert soup(cast.owner.get(cast.p)).select_one("h1 .tag") is None


def test_a_project_is_deleted_by_its_name_alone(cast: Cast) -> None:
    page = soup(cast.owner.get(f"{cast.p}/delete"))
    assert page.find("input", attrs={"name": "name"}) is not None
    wrong = cast.owner.submit(f"{cast.p}/delete", {"name": "Replies"})
    assert wrong.status_code == 422
    assert "Nothing was deleted" in wrong.text
    answer = cast.owner.submit(f"{cast.p}/delete", {"name": SECRET_NAME})
    assert answer.headers["Location"] == "/projects?done=project-deleted"
    assert cast.owner.get(cast.p).status_code == 404
    assert "harbour" not in cast.owner.get("/projects").text


def test_a_project_with_an_open_round_is_not_deleted(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    assert "Cancel it first" in cast.owner.get(f"{cast.p}/delete").text
    answer = cast.owner.submit(f"{cast.p}/delete", {"name": SECRET_NAME})
    assert answer.status_code == 409
    assert "Round 1 is still labelling" in answer.text


def test_the_next_rounds_time_stands_beside_its_button(cast: Cast, done_round: uuid.UUID) -> None:
    page = soup(cast.owner.get(cast.p))
    for shown in (page, soup(cast.owner.get(f"{cast.p}/rounds"))):
        terms = [term.string for term in shown.select("dl.facts.small dt")]
        assert terms[-1] == "Reckoned from"
        assert shown.select("dl.facts.small dd")[-1].string == "round 1"


def test_before_the_first_round_nothing_is_promised(cast: Cast) -> None:
    assert "is not known before a round is done" in cast.owner.get(cast.p).text
