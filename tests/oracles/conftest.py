"""A project of imported pairs with an HTTP client for its owner: what oracles work on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from app.database import transaction
from app.main import create_app
from app.models import Claim, Membership, Pair, Person, Policy, Preference, Project, Prompt, Round
from app.people import actions as people
from app.rounds import actions as rounds

GOOD, BAD = "What a wonderful, lovely, happy day!", "This is terrible, awful and sad."


@dataclass
class Lab:
    """One project, the owner's client, and what the test needs to look at."""

    project_id: uuid.UUID
    owner_id: uuid.UUID
    client: TestClient
    key: str
    more: Callable[[str], TestClient]

    @property
    def at(self) -> str:
        return f"/api/v1/projects/{self.project_id}"

    def open(self) -> uuid.UUID:
        """Opens a round; the worker that would be woken is not there."""
        with transaction() as s:
            return rounds.open_round(s, s.get_one(Project, self.project_id), None).id

    def claim(self, count: int, client: TestClient | None = None, **more: Any) -> list[Any]:
        answer = (client or self.client).post(f"{self.at}/claims", json={"count": count, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def answer(self, items: list[Any], client: TestClient | None = None) -> list[Any]:
        """Answers in one call."""
        sent = (client or self.client).post("/api/v1/claims/preferences", json={"items": items})
        assert sent.status_code == 200, sent.text
        return sent.json()["items"]

    def round(self) -> Round:
        with transaction() as s:
            query = select(Round).where(Round.project_id == self.project_id)
            return s.scalars(query.order_by(Round.number.desc()).limit(1)).one()

    def labels(self) -> list[Preference]:
        with transaction() as s:
            query = select(Preference).where(Preference.project_id == self.project_id)
            return list(s.scalars(query.where(Preference.deleted_at.is_(None))))

    def pairs(self) -> list[Pair]:
        with transaction() as s:
            query = select(Pair).where(Pair.project_id == self.project_id)
            return list(s.scalars(query.order_by(Pair.rank)))

    def claims(self, *states: str) -> list[Claim]:
        with transaction() as s:
            query = select(Claim).where(
                Claim.project_id == self.project_id, Claim.state.in_(states)
            )
            return list(s.scalars(query))


def add_pairs(project_id: uuid.UUID, texts: list[tuple[str, str]]) -> None:
    with transaction() as s:
        for i, (a, b) in enumerate(texts):
            prompt = Prompt(project_id=project_id, content=f"Prompt {i}", content_hash=str(i))
            s.add(prompt)
            s.flush()
            s.add(
                Pair(
                    project_id=project_id,
                    prompt_id=prompt.id,
                    external_id=f"pair {i}",
                    completion_a=a,
                    completion_b=b,
                )
            )


@pytest.fixture
def lab(database: Engine) -> Iterator[Callable[..., Lab]]:
    """Makes labs on the empty database; the app is the real one."""
    from app.people import throttle

    throttle._shared.cache_clear()
    app = create_app()
    with ExitStack() as stack:

        def client(secret: str) -> TestClient:
            made = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            made.headers["Authorization"] = f"Bearer {secret}"
            return made

        def make(pairs: int | list[tuple[str, str]] = 4, **settings: Any) -> Lab:
            texts = [(GOOD, BAD), (BAD, GOOD)] * pairs if isinstance(pairs, int) else pairs
            texts = texts[:pairs] if isinstance(pairs, int) else texts
            values = {"acquisition": "random", "source": "imported", "batch_size": len(texts)}
            with transaction() as s:
                owner = people.add_person(s, f"owner{uuid.uuid4().hex}@example.org")
                _, secret = people.add_key(s, owner, "admin")
                project = Project(name="Lab", base_model="base", **{**values, **settings})
                s.add(project)
                s.flush()
                s.add(Membership(project_id=project.id, person_id=owner.id, role="owner"))
                base = Policy(project_id=project.id, number=0, kind="base", base_model="base")
                s.add(base)
                s.flush()
                project.policy_id = base.id
            add_pairs(project.id, texts)

            def more(name: str) -> TestClient:
                with transaction() as s:
                    person = Person(email=f"{name}@example.org", name=name)
                    s.add(person)
                    s.flush()
                    s.add(Membership(project_id=project.id, person_id=person.id, role="annotator"))
                    _, key = people.add_key(s, person, "annotator")
                return client(key)

            return Lab(project.id, owner.id, client(secret), secret, more)

        yield make
