"""Archiving and deleting a project, and what the next round will take, over HTTP."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.database import transaction
from app.models import Event, Project


def kinds(cast: Any) -> list[str]:
    with transaction() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.id)))


def with_prompt(cast: Any) -> None:
    given = {"prompts": [{"prompt": "Why?"}]}
    assert cast.owner.post(f"{cast.project}/prompts", json=given).status_code == 200


def test_nothing_begins_in_an_archived_project(cast: Any) -> None:
    with_prompt(cast)
    for _ in range(2):  # the same again is no second entry
        assert cast.owner.patch(cast.project, json={"archived": True}).json()["archived"] is True
    assert cast.owner.post(f"{cast.project}/rounds").status_code == 409
    assert cast.annotator.post(f"{cast.project}/claims", json={}).json()["items"] == []
    assert cast.owner.get(f"{cast.project}/export").status_code == 200
    cast.owner.patch(cast.project, json={"archived": False})
    assert cast.owner.post(f"{cast.project}/rounds").status_code == 202
    assert [kind for kind in kinds(cast) if "archived" in kind] == [
        "project.archived",
        "project.unarchived",
    ]


def test_a_deleted_project_is_gone_for_everybody(cast: Any) -> None:
    name = cast.owner.get(cast.project).json()["name"]
    wrong = cast.owner.delete(cast.project, params={"name": f"{name}!"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "name"
    assert cast.owner.delete(cast.project).status_code == 422
    assert cast.annotator.delete(cast.project, params={"name": name}).status_code == 403
    answer = cast.owner.delete(cast.project, params={"name": name})
    assert (answer.status_code, answer.json()["deleted"]) == (202, True)
    for who in (cast.admin, cast.owner, cast.annotator):
        assert who.get(cast.project).status_code == 404
        assert str(cast.project_id) not in who.get("/api/v1/projects").text
    assert cast.annotator.post(f"{cast.project}/claims", json={}).status_code == 404
    assert cast.owner.delete(cast.project, params={"name": name}).status_code == 404


def test_it_is_not_deleted_while_a_round_is_under_way(cast: Any) -> None:
    with_prompt(cast)
    name = cast.owner.get(cast.project).json()["name"]
    round = cast.owner.post(f"{cast.project}/rounds").json()
    refused = cast.owner.delete(cast.project, params={"name": name})
    assert (refused.status_code, refused.json()["round"]) == (409, round["id"])
    assert cast.owner.get(cast.project).status_code == 200
    cast.owner.post(f"/api/v1/rounds/{round['id']}/cancel")
    assert cast.owner.delete(cast.project, params={"name": name}).status_code == 202
    with transaction() as session:
        assert session.get_one(Project, cast.project_id).deleted_at is not None


def test_the_forecast_says_that_there_was_no_round(cast: Any) -> None:
    view = cast.annotator.get(f"{cast.project}/forecast").json()
    assert (view["round"], view["seconds"], view["from_rounds"]) == (1, None, [])
    assert "No round" in view["reason"]
    assert cast.stranger.get(f"{cast.project}/forecast").status_code == 404
