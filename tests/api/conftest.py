"""The cast of every API test: an admin, a project's owner, an annotator and a stranger."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.database import transaction
from app.main import create_app
from app.people import actions, passwords, throttle
from app.people.models import Person
from app.projects import actions as project_actions
from app.projects.models import Project

PASSWORD = "a long enough password"


@dataclass
class Member:
    """Somebody of the cast, with a client that sends their key."""

    id: uuid.UUID
    email: str
    key: str
    client: TestClient

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.client, verb)


@dataclass
class Cast:
    """Everybody, and the project that all but the stranger may see."""

    admin: Member
    owner: Member
    annotator: Member
    stranger: Member
    project_id: uuid.UUID

    @property
    def project(self) -> str:
        """The address of the project."""
        return f"/api/v1/projects/{self.project_id}"


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes at the least cost, so that a cast takes milliseconds."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    passwords._nobodys.cache_clear()


@pytest.fixture
def app(database: Engine) -> Any:
    """The application on the empty database."""
    throttle._shared.cache_clear()
    return create_app()


@pytest.fixture
def anyone(app: Any) -> Iterator[TestClient]:
    """A client without a key; a fault of the server is a 500, as outside."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def member(app: Any) -> Callable[..., Member]:
    """Makes a person with an admin-scoped key and a client that sends it."""

    def make(name: str, role: str = "member", scope: str = "admin") -> Member:
        with transaction() as session:
            person = actions.add_person(session, f"{name}@example.com", name, role, PASSWORD)
            _, secret = actions.add_key(session, person, scope)
        client = TestClient(app, raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {secret}"
        return Member(person.id, person.email, secret, client)

    return make


@pytest.fixture
def cast(member: Callable[..., Member]) -> Cast:
    """The fixed cast and their project."""
    people = {
        "admin": member("admin", "admin"),
        "owner": member("owner"),
        "annotator": member("annotator"),
        "stranger": member("stranger"),
    }
    with transaction() as session:
        owner = session.get_one(Person, people["owner"].id)
        project = project_actions.create_project(
            session, {"name": "Replies", "base_model": "tiny", "batch_size": 4}, owner
        )
        annotator = session.get_one(Person, people["annotator"].id)
        actions.add_member(session, project, annotator, "annotator")
        project_id = project.id
    return Cast(**people, project_id=project_id)


@pytest.fixture
def project(cast: Cast) -> Project:
    """The cast's project as it is stored."""
    with transaction() as session:
        return session.get_one(Project, cast.project_id)


@pytest.fixture
def imported(cast: Cast) -> str:
    """A project of imported pairs with an open round, M = 3."""
    body = {"name": "Imported", "source": "imported", "acquisition": "random", "batch_size": 3}
    project = cast.admin.post("/api/v1/projects", json=body).json()["id"]
    pairs = [
        {
            "prompt": f"p{i}",
            "completion_a": f"a{i}",
            "completion_b": f"b{i}",
            "external_id": f"e{i}",
        }
        for i in range(5)
    ]
    url = f"/api/v1/projects/{project}"
    assert cast.admin.post(f"{url}/pairs", json={"pairs": pairs}).json()["added"] == 5
    for who, role in ((cast.annotator, "annotator"), (cast.owner, "annotator")):
        answer = cast.admin.post(f"{url}/members", json={"email": who.email, "role": role})
        assert answer.status_code in (200, 201), answer.text
    opened = cast.admin.post(f"{url}/rounds")
    assert opened.status_code == 202, opened.text
    return url
