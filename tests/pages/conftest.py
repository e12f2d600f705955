"""The cast of every page test, each signed in by a cookie, and a project with a past."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database import transaction
from app.labelling import actions as labelling
from app.labelling.actions import Answer
from app.main import create_app
from app.models import Pair, Person, Policy, Project, Prompt, Round
from app.people import actions, throttle
from app.projects import actions as projects
from app.projects import imports
from app.projects.row import Row
from app.rounds import actions as rounds

PASSWORD = "a long enough password"
SECRET_NAME = "Replies <b>of the harbour</b> & co"


def soup(response: Response) -> BeautifulSoup:
    """The page, parsed."""
    return BeautifulSoup(response.text, "html.parser")


class Browser(TestClient):
    """A browser with a session: asks for HTML, follows no redirect, sends the CSRF token."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, raise_server_exceptions=True, follow_redirects=False)
        self.headers["Accept"] = "text/html,application/xhtml+xml"

    def sign_in(self, email: str, password: str = PASSWORD) -> Response:
        """Send the form of the door."""
        return self.post("/sign-in", data={"email": email, "password": password})

    @property
    def token(self) -> str:
        """The CSRF token that pages carry."""
        meta = soup(self.get("/projects")).find("meta", attrs={"name": "csrf-token"})
        return str(meta["content"]) if meta else ""

    def submit(self, path: str, data: dict[str, str] | None = None, **more: Any) -> Response:
        """Submit a form with the token that its page carries."""
        return self.post(path, data={"csrf_token": self.token, **(data or {})}, **more)


@dataclass
class Cast:
    """Everybody, and the project that all but the stranger may see."""

    admin: Browser
    owner: Browser
    annotator: Browser
    stranger: Browser
    people: dict[str, uuid.UUID]
    project_id: uuid.UUID

    @property
    def p(self) -> str:
        """The project's address."""
        return f"/projects/{self.project_id}"


@pytest.fixture
def app(database: Engine) -> Any:
    """The application on the empty database."""
    throttle._shared.cache_clear()
    return create_app()


@pytest.fixture
def browser(app: Any) -> Callable[..., Browser]:
    """Makes a person and a browser in which they are signed in."""

    def make(name: str, role: str = "member") -> Browser:
        with transaction() as session:
            actions.add_person(session, f"{name}@example.com", name.title(), role, PASSWORD)
        made = Browser(app)
        assert made.sign_in(f"{name}@example.com").status_code == 303
        return made

    return make


@pytest.fixture
def cast(browser: Callable[..., Browser]) -> Cast:
    """The fixed cast, and a project with two prompts."""
    browsers = {
        "admin": browser("admin", "admin"),
        "owner": browser("owner"),
        "annotator": browser("annotator"),
        "stranger": browser("stranger"),
    }
    with transaction() as session:
        people = {p.name.lower(): p for p in session.scalars(select(Person))}
        project = projects.create_project(
            session, {"name": SECRET_NAME, "base_model": "tiny", "batch_size": 2}, people["owner"]
        )
        actions.add_member(session, project, people["annotator"], "annotator")
        given = ["<script>alert('prompt')</script>", "Why is the sea salty?"]
        imports.import_prompts(
            session, project, [Row(n, {"prompt": text}) for n, text in enumerate(given, 1)]
        )
        ids = {name: person.id for name, person in people.items()}
        project_id = project.id
    return Cast(**browsers, people=ids, project_id=project_id)


def open_labelling(session: Session, project_id: uuid.UUID) -> Round:
    """A round that takes labels: two pairs open, one more in the pool, all scored."""
    project = session.get_one(Project, project_id)
    round = rounds.open_round(session, project, None)
    known = select(Prompt).where(Prompt.project_id == project_id, ~Prompt.gold)
    prompts = list(session.scalars(known.order_by(Prompt.id)))
    for rank, margin in enumerate((2.5, -1.5, 0.25)):
        pair = Pair(
            project_id=project_id,
            prompt_id=prompts[rank % 2].id,
            round_id=round.id,
            completion_a=f"<img src=x onerror=alert(1)> A{rank}",
            completion_b=f"B{rank}",
            state="open" if rank < 2 else "pool",
            rank=rank,
            audit=rank == 1,
            margin=margin,
            entropy=40.0 + rank,
        )
        session.add(pair)
    round.state, round.needed = "labelling", 2
    round.metrics = {"acquisition": "certainty", "pool": 3, "audit": 1}
    session.flush()
    return round


@pytest.fixture
def labelling_round(cast: Cast) -> uuid.UUID:
    """A round of the cast's project that takes labels."""
    with transaction() as session:
        return open_labelling(session, cast.project_id).id


@pytest.fixture
def done_round(cast: Cast, labelling_round: uuid.UUID) -> uuid.UUID:
    """The same round after its labels, its training and its evaluation."""
    annotator = cast.people["annotator"]
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
        for claimed in labelling.claim_pairs(session, project, annotator, 2):
            labelling.prefer(session, claimed.claim.id, annotator, Answer(choice="left"))
    steps = [{"step": n, "loss": 0.7 / n, "accuracy": 1 - 0.5 / n} for n in range(1, 9)]
    metrics = {"steps": steps, "win_rate": 0.75, "win_rate_low": 0.6, "win_rate_high": 0.9}
    with transaction() as session:
        round = session.get_one(Round, labelling_round)
        policy = Policy(
            project_id=cast.project_id,
            number=1,
            kind="adapter",
            base_model="tiny",
            round_id=round.id,
            path="somewhere",
            files={"adapter_model.safetensors": {"size": 12, "sha256": "ab" * 32}},
            size_bytes=12,
            labels=2,
            metrics=metrics,
        )
        session.add(policy)
        session.flush()
        round.state, round.policy_out_id = "done", policy.id
        round.metrics = {**round.metrics, **metrics, "accuracy_before": 0.5, "guessed": 2}
        session.get_one(Project, cast.project_id).policy_id = policy.id
    return labelling_round


@pytest.fixture
def policy_id(done_round: uuid.UUID) -> uuid.UUID:
    """The policy that the round made."""
    with transaction() as session:
        return session.scalars(select(Policy.id).where(Policy.round_id == done_round)).one()
