"""The log: who did what when, for managers, append-only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.database import transaction
from app.people.models import Person
from app.projects.models import Project
from app.rounds.models import Event


def kinds(cast: Any) -> list[tuple[str, str | None]]:
    items = cast.owner.get(f"{cast.project}/events").json()["items"]
    return [(item["kind"], item["person"]) for item in items]


def test_what_people_do_is_told_with_their_address(cast: Any) -> None:
    before = len(kinds(cast))
    who = {"email": cast.stranger.email, "role": "reviewer"}
    cast.owner.post(f"{cast.project}/members", json=who)
    cast.owner.post(f"{cast.project}/prompts", json={"prompts": [{"prompt": "Hi"}]})
    cast.admin.patch(cast.project, json={"batch_size": 3})
    cast.owner.post(f"{cast.project}/rounds")
    assert cast.owner.get(f"{cast.project}/export").status_code == 200
    cast.owner.delete(f"{cast.project}/members/{cast.stranger.id}")
    owner, admin = cast.owner.email, cast.admin.email
    assert kinds(cast)[before:] == [
        ("member.added", owner),
        ("prompts.imported", owner),
        ("project.changed", admin),
        ("round.queued", owner),
        ("round.generating", None),
        ("labels.exported", owner),
        ("member.removed", owner),
    ]


def test_a_page_follows_the_other_and_the_file_has_all(cast: Any) -> None:
    for size in range(1, 6):
        cast.owner.patch(cast.project, json={"batch_size": size})
    first = cast.owner.get(f"{cast.project}/events?limit=3").json()
    assert len(first["items"]) == 3
    rest = cast.owner.get(f"{cast.project}/events?limit=500&cursor={first['next']}").json()
    assert rest["next"] is None
    file = cast.owner.get(f"{cast.project}/events/export")
    assert file.headers["Content-Type"].startswith("application/jsonl")
    told = [json.loads(line) for line in file.content.splitlines()]
    assert told == first["items"] + rest["items"]


def test_admins_of_the_site_read_all_of_it(cast: Any) -> None:
    cast.owner.patch(cast.project, json={"batch_size": 3})
    cast.admin.post("/api/v1/groups", json={"name": "harbour"})
    items = cast.admin.get("/api/v1/events?limit=500").json()["items"]
    told = {item["kind"]: item["project"] for item in items}
    assert told["project.changed"] == str(cast.project_id)
    assert told["group.created"] is None
    first = cast.admin.get("/api/v1/events?limit=1").json()
    rest = cast.admin.get(f"/api/v1/events?limit=500&cursor={first['next']}").json()
    file = cast.admin.get("/api/v1/events/export")
    assert [json.loads(line) for line in file.content.splitlines()] == items
    assert first["items"] + rest["items"] == items
    for path in ("/api/v1/events", "/api/v1/events/export"):
        assert cast.owner.get(path).status_code == 403


def test_who_does_not_manage_reads_no_log(cast: Any) -> None:
    for path in ("events", "events/export"):
        assert cast.annotator.get(f"{cast.project}/{path}").status_code == 403
        assert cast.stranger.get(f"{cast.project}/{path}").status_code == 404


@pytest.mark.parametrize("change", ["kind = 'other'", "data = '{}'", "created_at = now()"])
def test_no_entry_is_changed_whatever_the_program_tries(
    cast: Any, db: Session, change: str
) -> None:
    cast.owner.patch(cast.project, json={"batch_size": 3})
    with pytest.raises(DBAPIError, match="append-only"):
        db.execute(text(f"UPDATE events SET {change}"))


def test_an_entry_outlives_the_person_and_goes_with_the_project(cast: Any) -> None:
    cast.owner.patch(cast.project, json={"batch_size": 3})
    with transaction() as session:
        session.execute(update(Project).values(created_by=None))
        session.execute(delete(Person).where(Person.id == cast.owner.id))
    with transaction() as session:
        event = session.scalars(select(Event).where(Event.kind == "project.changed")).one()
        assert event.person_id is None
        session.execute(update(Project).values(policy_id=None))
        session.execute(delete(Project).where(Project.id == cast.project_id))
    with transaction() as session:
        left = session.scalars(select(Event)).all()
    assert {event.kind for event in left} == {"key.created"}, "which are no project's"
