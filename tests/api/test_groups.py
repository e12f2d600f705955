"""Groups: who is in them, what they give, and that nobody loses or gains by accident."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database import transaction
from app.people import actions, groups
from app.people.access import role_in
from app.people.models import GroupRole, Person
from app.projects.models import Project

GROUPS = "/api/v1/groups"


def group(cast: Any, *people: Any, name: str = "Harbour") -> str:
    """A group of these people; its id."""
    made = cast.admin.post(GROUPS, json={"name": name})
    assert made.status_code == 201, made.text
    for one in people:
        put = cast.admin.put(f"{GROUPS}/{made.json()['id']}/members/{one.id}")
        assert put.status_code == 200
    return str(made.json()["id"])


def let_in(by: Any, cast: Any, role: str, name: str = "Harbour") -> int:
    body = {"name": name, "role": role}
    return int(by.post(f"{cast.project}/groups", json=body).status_code)


def role(cast: Any, who: Any) -> str | None:
    with transaction() as session:
        return role_in(session, who.id, cast.project_id)


def test_a_group_lets_its_people_in_and_out(cast: Any) -> None:
    one = group(cast, cast.stranger)
    assert cast.stranger.get(cast.project).status_code == 404
    assert let_in(cast.owner, cast, "annotator") == 201
    assert cast.stranger.get(cast.project).status_code == 200
    assert [p["id"] for p in cast.stranger.get("/api/v1/projects").json()["items"]]
    listed = cast.owner.get(f"{cast.project}/groups").json()["items"]
    assert [(row["name"], row["role"], row["people"]) for row in listed] == [
        ("Harbour", "annotator", 1)
    ]
    assert cast.owner.delete(f"{cast.project}/groups/{one}").status_code == 204
    assert cast.stranger.get(cast.project).status_code == 404


@pytest.mark.parametrize(
    ("own", "of_group", "counts"),
    [
        ("annotator", "admin", "admin"),
        ("admin", "annotator", "admin"),
        ("reviewer", "reviewer", "reviewer"),
        ("oracle", "annotator", "annotator"),
        (None, "reviewer", "reviewer"),
    ],
)
def test_the_highest_role_counts(cast: Any, own: str | None, of_group: str, counts: str) -> None:
    group(cast, cast.stranger)
    group(cast, cast.stranger, name="Least")
    if own is not None:
        body = {"email": cast.stranger.email, "role": own}
        assert cast.owner.post(f"{cast.project}/members", json=body).status_code == 201
    assert let_in(cast.owner, cast, of_group) == 201
    assert let_in(cast.owner, cast, "annotator", "Least") == 201
    assert role(cast, cast.stranger) == counts
    managed = cast.stranger.patch(cast.project, json={"name": "Mine"}).status_code
    assert managed == (200 if counts == "admin" else 403)


def test_who_leaves_a_group_keeps_their_own_role(cast: Any) -> None:
    one = group(cast, cast.annotator)
    let_in(cast.owner, cast, "admin")
    assert role(cast, cast.annotator) == "admin"
    assert cast.admin.delete(f"{GROUPS}/{one}/members/{cast.annotator.id}").status_code == 204
    assert role(cast, cast.annotator) == "annotator"
    assert cast.admin.delete(f"{GROUPS}/{one}/members/{cast.annotator.id}").status_code == 404


def test_a_deleted_group_gives_nothing(cast: Any) -> None:
    one = group(cast, cast.stranger)
    let_in(cast.owner, cast, "reviewer")
    assert cast.admin.delete(f"{GROUPS}/{one}").status_code == 204
    assert role(cast, cast.stranger) is None
    kinds = [one["kind"] for one in cast.owner.get(f"{cast.project}/events").json()["items"]]
    assert kinds[-2:] == ["group.added", "group.deleted"]


def test_groups_are_the_sites_admins_business(cast: Any) -> None:
    one = group(cast)
    for who in (cast.owner, cast.annotator, cast.stranger):
        assert who.get(GROUPS).status_code == 403
        assert who.post(GROUPS, json={"name": "Mine"}).status_code == 403
        assert who.put(f"{GROUPS}/{one}/members/{who.id}").status_code == 403
    assert let_in(cast.annotator, cast, "annotator") == 403
    assert let_in(cast.stranger, cast, "annotator") == 404


def test_nobody_raises_a_group_above_themselves_or_to_owner(cast: Any) -> None:
    group(cast, cast.stranger)
    assert let_in(cast.owner, cast, "owner") == 422
    with transaction() as session:
        harbour = groups.group_called(session, "Harbour").id
    owning = insert(GroupRole).values(project_id=cast.project_id, group_id=harbour, role="owner")
    with pytest.raises(IntegrityError, match="ck_group_roles_role"), transaction() as session:
        session.execute(owning)
    assert let_in(cast.owner, cast, "reviewer") == 201
    assert let_in(cast.stranger, cast, "admin") == 403  # a reviewer manages nothing


def test_a_name_is_taken_once_and_may_change(cast: Any) -> None:
    one = group(cast)
    assert cast.admin.post(GROUPS, json={"name": " Harbour "}).status_code == 409
    assert cast.admin.post(GROUPS, json={"name": "  "}).status_code == 422
    assert cast.admin.post(GROUPS, json={"name": "x" * 101}).status_code == 422
    assert cast.admin.patch(f"{GROUPS}/{one}", json={"name": "Quay"}).json()["name"] == "Quay"
    two = group(cast)
    assert cast.admin.patch(f"{GROUPS}/{two}", json={"name": "Quay"}).status_code == 409


def test_a_project_keeps_an_owner_of_its_own_whatever_groups_there_are(cast: Any) -> None:
    group(cast, cast.stranger)
    let_in(cast.owner, cast, "admin")
    assert cast.stranger.delete(f"{cast.project}/members/{cast.owner.id}").status_code == 403
    assert cast.owner.delete(f"{cast.project}/members/{cast.owner.id}").status_code == 409


def test_a_project_admin_touches_no_owner(cast: Any) -> None:
    members = f"{cast.project}/members"
    cast.owner.post(members, json={"email": cast.stranger.email, "role": "admin"})
    lowered = cast.stranger.post(members, json={"email": cast.owner.email, "role": "annotator"})
    assert lowered.status_code == 403
    raised = cast.stranger.post(members, json={"email": cast.stranger.email, "role": "owner"})
    assert raised.status_code == 403
    mate = cast.stranger.post(members, json={"email": cast.annotator.email, "role": "admin"})
    assert mate.status_code == 201


def test_ownership_is_handed_over_by_an_owner_alone(cast: Any, db: Session) -> None:
    to = f"{cast.project}/members/{cast.annotator.id}/owner"
    assert cast.annotator.post(to).status_code == 403
    assert cast.owner.post(f"{cast.project}/members/{cast.stranger.id}/owner").status_code == 404
    assert cast.owner.post(to).status_code == 204
    assert (role(cast, cast.annotator), role(cast, cast.owner)) == ("owner", "admin")
    assert cast.owner.post(to).status_code == 403
    assert cast.annotator.delete(f"{cast.project}/members/{cast.annotator.id}").status_code == 409


def test_who_cannot_act_becomes_no_owner(cast: Any) -> None:
    cast.admin.patch(f"/api/v1/people/{cast.annotator.id}", json={"active": False})
    to = f"{cast.project}/members/{cast.annotator.id}/owner"
    assert cast.owner.post(to).status_code == 409
    assert role(cast, cast.owner) == "owner"


def test_an_oracle_that_was_taken_out_has_no_role_and_may_come_back(cast: Any) -> None:
    body = {"email": cast.stranger.email, "role": "oracle"}
    cast.owner.post(f"{cast.project}/members", json=body)
    assert cast.owner.delete(f"{cast.project}/members/{cast.stranger.id}").status_code == 204
    assert role(cast, cast.stranger) is None
    assert cast.stranger.get(cast.project).status_code == 404
    listed = cast.owner.get(f"{cast.project}/members").json()["items"]
    assert cast.stranger.email not in {one["email"] for one in listed}
    assert cast.owner.delete(f"{cast.project}/members/{cast.stranger.id}").status_code == 404
    assert cast.owner.post(f"{cast.project}/members", json=body).status_code == 201
    assert role(cast, cast.stranger) == "oracle"


def test_a_reviewer_by_a_group_settles_disagreements(cast: Any) -> None:
    from app.labelling.queries import reviewers
    from app.rounds.queries import eligible_people

    group(cast, cast.stranger)
    let_in(cast.owner, cast, "reviewer")
    with transaction() as session:
        assert cast.stranger.id in reviewers(session, cast.project_id)
        assert cast.stranger.id in eligible_people(session, cast.project_id)
        stranger = session.get_one(Person, cast.stranger.id)
        actions.change_person(session, stranger, active=False)
        assert cast.stranger.id not in reviewers(session, cast.project_id)
        assert session.get(Project, cast.project_id) is not None
