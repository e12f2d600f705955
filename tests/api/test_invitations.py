"""Invitations by link: who may make them, what they open, and what opens nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database import transaction
from app.people import actions
from app.people.access import token_hash
from app.people.models import Invitation, InvitationUse, Membership, Person
from app.projects.models import Project
from app.rounds.models import Event

ACCEPT, JOIN = "/api/v1/invitations/accept", "/api/v1/invitations/join"
PASSWORD = "a long enough password"


def made(by: Any, where: str, **body: Any) -> dict[str, Any]:
    """An invitation into a project or the site, as its maker sees it."""
    answer = by.post(f"{where}/invitations", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def newcomer(token: str, email: str = "new@example.com") -> dict[str, Any]:
    return {"token": token, "email": email, "name": "New", "password": PASSWORD}


def role_of(cast: Any, email: str) -> str | None:
    with transaction() as session:
        return session.scalar(
            select(Membership.role)
            .join(Person, Person.id == Membership.person_id)
            .where(Membership.project_id == cast.project_id, Person.email == email)
        )


def people() -> int:
    with transaction() as session:
        return session.scalars(select(func.count()).select_from(Person)).one()


def test_a_link_lets_a_new_person_in_with_its_role(cast: Any, anyone: TestClient) -> None:
    link = made(cast.owner, cast.project, role="reviewer")
    answer = anyone.post(ACCEPT, json=newcomer(link["token"], "New@Example.com"))
    assert answer.status_code == 201
    assert answer.json()["project"] == str(cast.project_id)
    assert role_of(cast, "new@example.com") == "reviewer"
    signed = anyone.post("/api/v1/sign-in", json={"email": "new@example.com", "password": PASSWORD})
    assert signed.status_code == 200
    (listed,) = cast.owner.get(f"{cast.project}/invitations").json()["items"]
    assert (listed["state"], listed["uses"]) == ("used", 1)
    assert [one["email"] for one in listed["used_by"]] == ["new@example.com"]


def test_only_its_hash_is_stored_and_it_is_shown_once(cast: Any, db: Session) -> None:
    link = made(cast.owner, cast.project)
    assert link["link"].endswith(f"/invitation?link={link['token']}")
    assert len(link["token"]) >= 43
    stored = db.scalars(select(Invitation)).one()
    assert stored.token_hash == token_hash(link["token"])
    assert link["token"] not in cast.owner.get(f"{cast.project}/invitations").text
    for table in ("invitations", "events"):
        rows = db.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t")).scalars()
        assert not [row for row in rows if link["token"] in row]


def test_who_has_an_account_joins_with_it(cast: Any) -> None:
    link = made(cast.owner, cast.project, role="annotator")
    assert cast.stranger.get(cast.project).status_code == 404
    assert cast.stranger.post(JOIN, json={"token": link["token"]}).status_code == 200
    assert cast.stranger.get(cast.project).status_code == 200


def test_every_step_is_in_the_log(cast: Any) -> None:
    used, ended = (made(cast.owner, cast.project) for _ in range(2))
    cast.stranger.post(JOIN, json={"token": used["token"]})
    cast.owner.delete(f"{cast.project}/invitations/{ended['id']}")
    log = cast.owner.get(f"{cast.project}/events").json()["items"]
    told = [(one["kind"], one["person"]) for one in log if "invitation" in one["kind"]]
    assert told == [
        ("invitation.created", "owner@example.com"),
        ("invitation.created", "owner@example.com"),
        ("invitation.used", "stranger@example.com"),
        ("invitation.revoked", "owner@example.com"),
    ]


def _expired(session: Session) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    session.execute(update(Invitation).values(expires_at=past))


def _used_up(session: Session) -> None:
    session.execute(update(Invitation).values(uses=1))


def _maker_inactive(session: Session) -> None:
    session.execute(update(Person).where(Person.email == "owner@example.com").values(active=False))


def _maker_demoted(session: Session) -> None:
    session.execute(update(Membership).values(role="annotator"))


def _maker_gone(session: Session) -> None:
    session.execute(update(Invitation).values(created_by=None))


def _maker_out(session: Session) -> None:
    session.execute(text("DELETE FROM memberships"))


def test_what_opens_nothing_is_told_in_the_same_words(cast: Any, anyone: TestClient) -> None:
    answers = set()
    for end in (_expired, _used_up, _maker_gone, _maker_inactive, _maker_demoted, _maker_out, None):
        with transaction() as session:
            project = session.get_one(Project, cast.project_id)
            owner = session.get_one(Person, cast.owner.id)
            owner.active = True
            session.flush()
            actions.add_member(session, project, owner, "owner")
        link = made(cast.owner, cast.project)
        token = link["token"]
        if end is None:
            assert cast.owner.delete(f"{cast.project}/invitations/{link['id']}").status_code == 204
        else:
            with transaction() as session:
                end(session)
        for tried in (token, token[:-1] + ("A" if token[-1] != "A" else "B"), "", "x"):
            before = people()
            answer = anyone.post(ACCEPT, json=newcomer(tried))
            answers.add((answer.status_code, answer.text))
            joined = cast.stranger.post(JOIN, json={"token": tried})
            answers.add((joined.status_code, joined.text))
            assert people() == before
        with transaction() as session:
            session.execute(text("DELETE FROM invitations"))
    assert len(answers) == 1
    assert answers.pop()[0] == 410


def test_it_lets_in_no_more_than_it_says_however_many_come_at_once(
    cast: Any, anyone: TestClient
) -> None:
    link = made(cast.owner, cast.project, uses=2)

    def come(n: int) -> int:
        body = newcomer(link["token"], f"new-{n}@example.com")
        return anyone.post(ACCEPT, json=body).status_code

    with ThreadPoolExecutor(6) as pool:
        codes = sorted(pool.map(come, range(6)))
    assert codes == [201, 201, 410, 410, 410, 410]


def test_the_database_itself_refuses_a_use_too_many(cast: Any) -> None:
    made(cast.owner, cast.project)
    with pytest.raises(IntegrityError, match="ck_invitations_uses"), transaction() as session:
        session.execute(update(Invitation).values(uses=2))


def test_who_was_taken_out_does_not_come_back_by_the_same_link(cast: Any) -> None:
    link = made(cast.owner, cast.project, uses=5)
    join = {"token": link["token"]}
    assert cast.stranger.post(JOIN, json=join).status_code == 200
    assert cast.stranger.post(JOIN, json=join).status_code == 200  # a member still: nothing is used
    cast.owner.delete(f"{cast.project}/members/{cast.stranger.id}")
    assert cast.stranger.post(JOIN, json=join).status_code == 409
    assert cast.stranger.get(cast.project).status_code == 404
    with transaction() as session:
        assert session.scalars(select(Invitation.uses)).one() == 1
        assert len(session.scalars(select(InvitationUse.person_id)).all()) == 1


def test_nobody_invites_above_their_own_role(cast: Any) -> None:
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
        stranger = session.get_one(Person, cast.stranger.id)
        actions.add_member(session, project, stranger, "admin")
    url = f"{cast.project}/invitations"
    assert cast.stranger.post(url, json={"role": "owner"}).status_code == 403
    assert cast.stranger.post(url, json={"role": "admin"}).status_code == 201
    assert cast.owner.post(url, json={"role": "owner"}).status_code == 201
    assert cast.admin.post(url, json={"role": "owner"}).status_code == 201
    assert cast.annotator.post(url, json={"role": "annotator"}).status_code == 403
    assert cast.owner.post("/api/v1/invitations", json={"role": "admin"}).status_code == 403
    assert cast.owner.post(url, json={"role": "member"}).status_code == 422


def test_a_link_never_lowers_a_role(cast: Any) -> None:
    link = made(cast.owner, cast.project, role="annotator")
    assert cast.owner.post(JOIN, json={"token": link["token"]}).status_code == 200
    assert role_of(cast, "owner@example.com") == "owner"
    with transaction() as session:
        assert session.scalars(select(Invitation.uses)).one() == 0


def test_another_projects_manager_sees_and_ends_nothing(cast: Any) -> None:
    link = made(cast.owner, cast.project)
    other = cast.admin.post("/api/v1/projects", json={"name": "Other", "base_model": "tiny"}).json()
    with transaction() as session:
        project = session.get_one(Project, uuid.UUID(other["id"]))
        stranger = session.get_one(Person, cast.stranger.id)
        actions.add_member(session, project, stranger, "owner")
    theirs = f"/api/v1/projects/{other['id']}/invitations"
    assert cast.stranger.get(f"{cast.project}/invitations").status_code == 404
    assert cast.stranger.get(theirs).json()["items"] == []
    assert cast.stranger.delete(f"{cast.project}/invitations/{link['id']}").status_code == 404
    assert cast.stranger.delete(f"{theirs}/{link['id']}").status_code == 404
    assert cast.stranger.delete(f"/api/v1/invitations/{link['id']}").status_code == 403
    assert cast.stranger.post(JOIN, json={"token": link["token"]}).status_code == 200


def test_an_invitation_for_one_address_is_for_nobody_else(cast: Any, anyone: TestClient) -> None:
    link = made(cast.owner, cast.project, email="Right@Example.com")
    wrong = anyone.post(ACCEPT, json=newcomer(link["token"], "wrong@example.com"))
    assert wrong.status_code == 403
    assert "right@" not in wrong.text
    assert cast.stranger.post(JOIN, json={"token": link["token"]}).status_code == 403
    right = anyone.post(ACCEPT, json=newcomer(link["token"], "right@example.com"))
    assert right.status_code == 201


def test_an_address_that_is_taken_is_not_told_from_one_that_fails(
    cast: Any, anyone: TestClient
) -> None:
    link = made(cast.owner, cast.project, uses=9)
    taken = anyone.post(ACCEPT, json=newcomer(link["token"], "annotator@example.com"))
    assert taken.status_code == 401
    assert "annotator" not in taken.text
    for _ in range(40):
        again = anyone.post(ACCEPT, json=newcomer(link["token"], "annotator@example.com"))
        if again.status_code == 429:
            break
    assert again.status_code == 429
    with transaction() as session:
        assert session.scalars(select(Invitation.uses)).one() == 0


def test_guessing_is_slowed_down(cast: Any, anyone: TestClient) -> None:
    for n in range(300):
        answer = anyone.post(ACCEPT, json=newcomer(f"guess-{n}"))
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "none"}, "email"),
        ({"name": "  "}, "name"),
        ({"password": "short"}, "password"),
    ],
)
def test_what_cannot_be_names_its_field_and_uses_nothing(
    cast: Any, anyone: TestClient, change: dict[str, str], field: str
) -> None:
    link = made(cast.owner, cast.project)
    answer = anyone.post(ACCEPT, json=newcomer(link["token"]) | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert anyone.post(ACCEPT, json=newcomer(link["token"])).status_code == 201


@pytest.mark.parametrize(
    "body",
    [{"days": 0}, {"days": 366}, {"uses": 0}, {"uses": 1001}, {"role": "king"}, {"email": "x"}],
)
def test_an_invitation_that_cannot_be_is_refused(cast: Any, body: dict[str, Any]) -> None:
    assert cast.owner.post(f"{cast.project}/invitations", json=body).status_code == 422


def test_an_admin_invites_into_the_site(cast: Any, anyone: TestClient, db: Session) -> None:
    member = made(cast.admin, "/api/v1")
    boss = made(cast.admin, "/api/v1", role="admin")
    assert anyone.post(ACCEPT, json=newcomer(member["token"])).json()["project"] is None
    assert cast.stranger.post(JOIN, json={"token": boss["token"]}).status_code == 200
    assert cast.stranger.get("/api/v1/people").status_code == 200
    new = db.scalars(select(Person).where(Person.email == "new@example.com")).one()
    assert (new.role, new.email_proven) == ("member", False)
    kinds = db.scalars(select(Event.kind).where(Event.project_id.is_(None))).all()
    assert {"invitation.created", "invitation.used", "person.registered"} <= set(kinds)


def test_a_narrow_key_joins_nothing(cast: Any, anyone: TestClient) -> None:
    link = made(cast.owner, cast.project)
    key = cast.stranger.post("/api/v1/keys", json={"scope": "annotator"}).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert anyone.post(JOIN, json={"token": link["token"]}, headers=headers).status_code == 403
