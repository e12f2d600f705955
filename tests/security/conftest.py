"""Everybody who might knock, a project of theirs and one that is not theirs."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.artifacts import Files, put_folder
from app.database import transaction
from app.evaluations import actions as evaluations
from app.evaluations.models import Output, Outputs
from app.imports.models import KeptFile
from app.labelling import actions as labelling
from app.labelling import practice_setup, withheld
from app.labelling.models import GoldPair
from app.main import create_app
from app.oracles import actions as oracles
from app.oracles import webhooks
from app.oracles.models import Delivery
from app.oracles.schema import Sentiment
from app.people import actions, groups, invitations, throttle
from app.people.access import COOKIE, CSRF_HEADER
from app.people.models import Person
from app.people.sessions import _begin
from app.playground import actions as trials
from app.policies.models import Policy
from app.projects import actions as projects
from app.projects.models import Pair, Project, Prompt
from app.rounds import actions as rounds

SITE = "http://testserver"
PEOPLE = ("admin", "owner", "manager", "reviewer", "annotator", "oracle", "stranger")


@dataclass
class World:
    """Ids for the routes' parameters, and what each of the cast sends along."""

    own: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    people: dict[str, uuid.UUID] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, tuple[str, str]] = field(default_factory=dict)

    def by_key(self, who: str) -> dict[str, str]:
        """Headers of a call with a key; none for who has none."""
        return {"Authorization": f"Bearer {self.keys[who]}"} if who in self.keys else {}

    def by_cookie(self, who: str) -> dict[str, str]:
        """Headers of a browser; none for who is not signed in."""
        if who not in self.cookies:
            return {}
        token, csrf = self.cookies[who]
        return {"Cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf}


def build() -> World:
    """The world, in an empty database."""
    world = World()
    with transaction() as session:
        cast = {name: _person(session, world, name) for name in PEOPLE}
        lone = _person(session, world, "lone")
        own = _project(session, cast["owner"], "Own")
        other = _project(session, lone, "Other")
        actions.add_member(session, own, cast["manager"], "admin")
        actions.add_member(session, own, cast["reviewer"], "reviewer")
        actions.add_member(session, own, cast["annotator"], "annotator")
        actions.add_member(session, own, cast["oracle"], "oracle")
        for name, person, scope, only in (
            ("admin", cast["admin"], "admin", None),
            ("owner", cast["owner"], "admin", None),
            ("manager", cast["manager"], "admin", None),
            ("reviewer", cast["reviewer"], "admin", None),
            ("annotator", cast["annotator"], "annotator", None),
            ("oracle", cast["oracle"], "oracle", None),
            ("stranger", cast["stranger"], "admin", None),
            ("owner, narrow key", cast["owner"], "annotator", None),
            ("owner, key of another project", cast["owner"], "admin", other.id),
        ):
            _, world.keys[name] = actions.add_key(session, person, scope, name, only)
        world.own = _ids(session, own, cast["annotator"], cast["owner"])
        world.other = _ids(session, other, lone, lone)
    return world


def _person(session: Session, world: World, name: str) -> Person:
    role = "admin" if name == "admin" else "member"
    person = actions.add_person(session, f"{name}@example.com", name, role)
    session.flush()
    begun = _begin(session, person)
    world.people[name] = person.id
    world.cookies[name] = (begun.token, begun.csrf_token)
    return person


def _project(session: Session, owner: Person, name: str) -> Project:
    wanted = {
        "name": name,
        "base_model": "some/model",
        "source": "imported",
        "acquisition": "random",
        "batch_size": 6,
    }
    project = projects.create_project(session, wanted, owner)
    for n in range(8):
        prompt = Prompt(project_id=project.id, content=f"a question {n}", content_hash=str(n))
        session.add(prompt)
        session.flush()
        pair = Pair(
            project_id=project.id,
            prompt_id=prompt.id,
            completion_a=f"{name} a {n}",
            completion_b=f"{name} b {n}",
            content_hash=str(n),
        )
        session.add(pair)
    session.flush()
    return project


def _ids(session: Session, project: Project, annotator: Person, owner: Person) -> dict[str, str]:
    round = rounds.open_round(session, project, None)
    held, answered = labelling.claim_pairs(session, project, annotator.id, 2)
    preference, _ = labelling.prefer(
        session, answered.claim.id, annotator.id, labelling.Answer("left")
    )
    oracles.attach(session, project, Sentiment(kind="sentiment"))
    key, _ = actions.add_key(session, annotator, "annotator", "to be revoked")
    webhook, _ = webhooks.add(session, project.id, "https://example.com/hook", [])
    hidden = session.scalars(select(Pair).where(Pair.project_id == project.id).limit(1)).one()
    withheld.withhold(session, hidden, annotator.id)
    session.add(GoldPair(pair_id=hidden.id, project_id=project.id, answer="a"))
    learnt = practice_setup.NewPractice("a question", "an answer", "another", "a", "It is first.")
    practised = practice_setup.add(session, project, learnt, None)
    delivery = Delivery(webhook_id=webhook.id, kind="round.done", payload={}, state="dead")
    session.add(delivery)
    group = groups.add_group(session, f"Group of {project.name}", owner.id)
    groups.put_in(session, group, annotator, None)
    groups.let_in(session, project, group, "annotator", None)
    session.flush()
    invitation, token = invitations.invite(session, project, "annotator", owner, uses=1000)
    first, second = (_outputs(session, project, name) for name in ("first", "second"))
    sides = evaluations.Side(outputs=first), evaluations.Side(outputs=second)
    asked = evaluations.Asked(*sides, prompts="train")
    evaluation = evaluations.create(session, project, asked, None)
    return {
        "group_id": str(group.id),
        "group_name": group.name,
        "invitation_id": str(invitation.id),
        "invitation_token": token,
        "evaluation_id": str(evaluation.id),
        "trial_id": str(_trial(session, project, annotator)),
        "outputs_id": str(first),
        "other_outputs_id": str(second),
        "project_id": str(project.id),
        "round_id": str(round.id),
        "claim_id": str(held.claim.id),
        "preference_id": str(preference.id),
        "policy_id": str(_policy(session, project, round.id)),
        "person_id": str(annotator.id),
        "pair_id": str(hidden.id),
        "practice_id": str(practised.id),
        "key_id": str(key.id),
        "webhook_id": str(webhook.id),
        "delivery_id": str(delivery.id),
        "kept_id": str(_kept(session, project)),
    }


def _kept(session: Session, project: Project) -> uuid.UUID:
    """A file that the project's owner sent and has yet to import."""
    kept = KeptFile(
        project_id=project.id,
        person_id=project.created_by,
        kind="prompts",
        name="a.jsonl",
        format="jsonl",
        size=20,
    )
    session.add(kept)
    session.flush()
    _stored(kept.folder, "file", b'{"prompt": "sent"}\n')
    return kept.id


def _outputs(session: Session, project: Project, name: str) -> uuid.UUID:
    made = Outputs(project_id=project.id, name=name)
    session.add(made)
    session.flush()
    prompts = session.scalars(select(Prompt.id).where(Prompt.project_id == project.id))
    session.add_all(Output(outputs_id=made.id, prompt_id=id, completion=name) for id in prompts)
    session.flush()
    return made.id


def _trial(session: Session, project: Project, by: Person) -> uuid.UUID:
    assert project.policy_id is not None
    wanted = trials.Wanted("a question", project.policy_id, project.policy_id)
    return trials.ask(session, project, wanted, by.id).id


def _policy(session: Session, project: Project, round_id: uuid.UUID) -> uuid.UUID:
    path = f"projects/{project.id}/rounds/1/train-1"
    files = _stored(path, "adapter.safetensors", b"weights")
    policy = Policy(
        project_id=project.id,
        number=1,
        kind="adapter",
        base_model=project.base_model,
        round_id=round_id,
        path=path,
        files=files,
    )
    session.add(policy)
    session.flush()
    return policy.id


def _stored(path: str, name: str, content: bytes) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return put_folder(Path(folder), path)


@pytest.fixture(scope="session")
def app(environment: dict[str, str]) -> Any:
    """The application."""
    throttle._shared.cache_clear()
    return create_app()


@pytest.fixture
def client(app: Any, database: Engine) -> TestClient:
    """A browser or script without a key; errors of the server are answers."""
    return TestClient(app, base_url=SITE, raise_server_exceptions=False, follow_redirects=False)
