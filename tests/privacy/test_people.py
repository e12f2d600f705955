"""A copy of a person's data, and a person who is forgotten."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from app.database import transaction
from app.errors import Conflict, Gone
from app.labelling.models import Claim, Preference
from app.main import create_app
from app.people import actions as people
from app.people import invitations, second_factor
from app.people.models import Identity, Invitation, Person
from app.people.sessions import _begin
from app.privacy import actions
from app.privacy.queries import everything_about
from app.projects.models import Project
from app.quality import actions as quality
from app.rounds import actions as rounds
from app.rounds.models import Event, TrainingLabel
from tests.labelling.conftest import World, make_world
from tests.stack.test_cli import _run

WORDS = "I was there in 1987"


@pytest.fixture
def world(database: Engine) -> Callable[..., World]:
    """Makes worlds on the empty database."""
    return make_world


def delete(world: World, who: str, labels: actions.Labels = "keep") -> actions.Deleted:
    with transaction() as s:
        return actions.delete_person(s, s.get_one(Person, world.person(who)), labels, None)


def data_of(person_id: uuid.UUID) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(b"".join(everything_about(person_id)))
    return read


def everything_stored(database: Engine) -> str:
    """Every row of every table, as text."""
    from app.database import Base

    with database.connect() as connection:
        return "\n".join(
            str(row[0])
            for table in Base.metadata.sorted_tables
            for row in connection.execute(text(f'SELECT t::text FROM "{table.name}" t'))
        )


def test_a_copy_holds_all_that_is_kept_and_no_secret(world, database: Engine) -> None:
    it = world(3)
    it.open()
    it.prefer("ann", it.claim("ann")[0], "left", rationale=WORDS)
    with transaction() as s:
        ann = s.get_one(Person, it.person("ann"))
        key, secret = people.add_key(s, ann, "annotator", "my script")
        s.add(Identity(person_id=ann.id, issuer="https://id.example.com", subject="ann-7"))
        begun = _begin(s, ann)
        quality.set_aside(s, s.get_one(Project, it.project.id), ann.id, "Too fast", None)
    data = data_of(it.person("ann"))
    assert data["account"]["email"] == "ann@example.org"
    assert [k["name"] for k in data["keys"]] == ["my script"]
    assert [i["subject"] for i in data["identities"]] == ["ann-7"]
    assert [m["role"] for m in data["memberships"]] == ["annotator"]
    assert [p["rationale"] for p in data["preferences"]] == [WORDS]
    assert [v["rationale"] for v in data["preference_versions"]] == [WORDS]
    assert [a["reason"] for a in data["set_asides"]] == ["Too fast"]
    assert "labels.set_aside" in [e["kind"] for e in data["events"]]
    assert len(data["sign_ins"]) == 1
    whole = json.dumps(data)
    for hidden in (secret, key.key_hash, begun.token, begun.csrf_token, "Prompt 0", "$argon2"):
        assert hidden not in whole


def test_who_is_deleted_is_nowhere_and_their_choice_stays(world, database: Engine) -> None:
    it = world(2)
    it.open()
    kept = it.prefer("ann", it.claim("ann")[0], "left", rationale=WORDS, flags=["broken"])
    held = it.claim("ann")[0]
    with transaction() as s:
        ann = s.get_one(Person, it.person("ann"))
        ann.name = "Ann Ahrens"
        _, secret = people.add_key(s, ann, "annotator", "Ann's script")
        s.add(Identity(person_id=ann.id, issuer="https://id.example.com", subject="Ann-7"))
        token = _begin(s, ann).token
        second_factor.begin(s, ann)
        quality.set_aside(s, s.get_one(Project, it.project.id), ann.id, "Ann is rude", None)
    done = delete(it, "ann")
    assert (done.removed, done.kept) == (0, 1)
    stored = everything_stored(database)
    assert "gAAAA" not in stored  # nor the sealed secret of the second step
    for gone in ("ann@", "Ann", WORDS, "rude"):
        assert gone not in stored
    client = TestClient(create_app())
    assert (
        client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    )
    client.cookies.set("activedpo_session", token)
    assert client.get("/api/v1/me").status_code == 401
    with transaction() as s:
        still = s.get_one(Preference, kept.id)
        assert (still.choice, still.rationale, still.person_id) == ("left", None, done.id)
        assert s.get_one(Claim, held.claim.id).state == "released"
        assert s.get_one(Person, done.id).name.startswith("deleted person ")
        event = s.scalars(select(Event).where(Event.kind == "person.deleted")).first()
        assert event is not None
        assert event.data == {"person": str(done.id)}
    assert [c.claim.pair_id for c in it.claim("bob", 2)] == [held.claim.pair_id]


def test_labels_of_an_open_batch_are_asked_of_others_when_taken_out(world) -> None:
    it = world(3)
    it.open()
    first, _ = it.claim("ann", 2)
    it.prefer("ann", first, "left")
    assert it.round().answered == 1
    done = delete(it, "ann", "remove")
    assert (done.removed, done.kept) == (1, 0)
    assert it.round().answered == 0
    for claimed in it.claim("bob", 3):
        it.prefer("bob", claimed, "right")
    assert it.round().state == "training"
    with transaction() as s:
        assert len(s.scalars(select(TrainingLabel.preference_id)).all()) == 3


def test_what_a_round_has_trained_on_stays_and_trains_no_more(world) -> None:
    it = world(3, batch_size=1)
    it.open()
    trained = it.prefer("ann", it.claim("ann")[0], "left")
    it.act(rounds.cancel, it.round())
    it.open()
    it.prefer("ann", it.claim("ann")[0], "left")
    it.act(rounds.cancel, it.round())
    done = delete(it, "ann", "remove")
    assert (done.removed, done.kept) == (0, 2)
    it.open()
    it.prefer("bob", it.claim("bob")[0], "left")
    with transaction() as s:
        newest = select(TrainingLabel.preference_id).where(TrainingLabel.round_id == it.round().id)
        assert trained.id not in s.scalars(newest).all()


def test_who_cannot_be_spared_is_not_deleted(world, db: Session) -> None:
    it = world(1)
    it.person("olga", "owner")
    with pytest.raises(Conflict, match="only owner of Test"):
        delete(it, "olga")
    with transaction() as s:
        admin = people.add_person(s, "root@example.org", role="admin")
    with pytest.raises(Conflict, match="only admin"), transaction() as s:
        actions.delete_person(s, s.get_one(Person, admin.id), "keep", None)
    delete(it, "ann")
    with pytest.raises(Conflict, match="deleted already"):
        delete(it, "ann")


def test_a_deleted_person_does_not_come_back_and_the_address_is_free(world) -> None:
    it = world(1)
    done = delete(it, "ann")
    with transaction() as s:
        gone = s.get_one(Person, done.id)
        for come_back in (
            lambda: people.change_person(s, gone, active=True),
            lambda: people.set_password(s, gone, "a long enough password"),
            lambda: people.add_key(s, gone, "admin"),
            lambda: people.add_member(s, s.get_one(Project, it.project.id), gone, "owner"),
        ):
            with pytest.raises(Conflict, match="deleted"):
                come_back()
        assert people.add_person(s, "ann@example.org").id != done.id


def test_the_log_lets_a_reason_go_and_nothing_else(world, database: Engine) -> None:
    it = world(1)
    ann = it.person("ann")
    with transaction() as s:
        quality.set_aside(s, s.get_one(Project, it.project.id), ann, "Too fast", ann)
    for change in ("data = '{}'", "kind = 'x'", f"person_id = '{uuid.uuid4()}'"):
        with pytest.raises(Exception, match=r"append-only|foreign key"), database.begin() as c:
            c.execute(text(f"UPDATE events SET {change}"))
    with database.begin() as connection:
        connection.execute(text("UPDATE events SET data = data - 'reason', person_id = NULL"))


def test_the_command_line_exports_and_deletes(world) -> None:
    it = world(1)
    ann = it.person("ann")
    shown = _run("user", "export", "ann@example.org")
    assert json.loads(shown.stdout)["account"]["id"] == str(ann)
    assert _run("user", "delete", "ann@example.org", "--labels", "some").returncode == 2
    done = _run("user", "delete", "ann@example.org", "--yes", "--json")
    assert json.loads(done.stdout)["id"] == str(ann)
    assert _run("user", "export", "ann@example.org").returncode == 1


def test_an_invitation_forgets_whom_it_was_for(world, database: Engine) -> None:
    it = world(1)
    with transaction() as s:
        boss = people.add_person(s, "boss@example.org", "Boss", "admin")
        project = s.get_one(Project, it.project.id)
        email = "ann@example.org"
        used, _ = invitations.invite(s, project, "reviewer", boss, email=email)
        unused, token = invitations.invite(s, project, "reviewer", boss, email=email)
        invitations.accept(s, used, s.get_one(Person, it.person("ann")))
    assert [one["role"] for one in data_of(it.person("ann"))["invitations"]] == ["reviewer"]
    delete(it, "ann")
    assert "ann@example.org" not in everything_stored(database)
    with transaction() as s:  # it was for one address, and is not for anybody now
        assert s.get_one(Invitation, unused.id).revoked_at is not None
        with pytest.raises(Gone):
            invitations.opened(s, token, "a place")
