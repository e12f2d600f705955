"""A project of imported pairs, a fixed cast, and the verbs of labelling, each committed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database import transaction
from app.labelling import actions, leases
from app.labelling.actions import Answer, ClaimedPair
from app.labelling.models import Preference
from app.models import Claim, Membership, Pair, Person, Policy, Project, Prompt, Round, Run
from app.rounds import actions as rounds


@dataclass
class World:
    """One project and its people; every verb is a transaction of its own."""

    project: Project
    people: dict[str, uuid.UUID] = field(default_factory=dict)

    def person(self, name: str, role: str | None = "annotator") -> uuid.UUID:
        """Somebody of that name, a member in ``role`` (None: of no project)."""
        if name not in self.people:
            with transaction() as s:
                person = Person(email=f"{name}@example.org", name=name)
                s.add(person)
                s.flush()
                if role:
                    s.add(Membership(project_id=self.project.id, person_id=person.id, role=role))
                self.people[name] = person.id
        return self.people[name]

    def open(self) -> Round:
        with transaction() as s:
            return rounds.open_round(s, s.get_one(Project, self.project.id), None)

    def claim(self, who: str, count: int = 1) -> list[ClaimedPair]:
        with transaction() as s:
            project = s.get_one(Project, self.project.id)
            return actions.claim_pairs(s, project, self.person(who), count)

    def prefer(self, who: str, claimed: ClaimedPair, choice: str, **more: Any) -> Preference:
        with transaction() as s:
            answer = Answer(choice, **more)
            return actions.prefer(s, claimed.claim.id, self.person(who), answer)[0]

    def amend(self, who: str, preference: Preference, choice: str) -> Preference:
        with transaction() as s:
            return actions.amend(s, preference.id, self.person(who), Answer(choice))

    def undo(self, who: str, preference: Preference) -> ClaimedPair:
        with transaction() as s:
            return actions.undo(s, preference.id, self.person(who))

    def release(self, who: str, claimed: ClaimedPair) -> None:
        with transaction() as s:
            actions.release(s, claimed.claim.id, self.person(who))

    def renew(self, who: str, claimed: ClaimedPair) -> Claim:
        with transaction() as s:
            project = s.get_one(Project, self.project.id)
            return leases.renew(s, project, claimed.claim.id, self.person(who))

    def act(self, verb: Callable[..., Round], round: Round) -> Round:
        """Cancel, retry or cut short a round."""
        with transaction() as s:
            return verb(s, s.get_one(Round, round.id))

    def round(self) -> Round:
        """The newest round as it is now."""
        with transaction() as s:
            query = select(Round).where(Round.project_id == self.project.id)
            return s.scalars(query.order_by(Round.number.desc()).limit(1)).one()

    def pairs(self, state: str) -> list[Pair]:
        with transaction() as s:
            query = select(Pair).where(Pair.project_id == self.project.id, Pair.state == state)
            return list(s.scalars(query))

    def runs(self) -> list[Run]:
        with transaction() as s:
            return list(s.scalars(select(Run).where(Run.project_id == self.project.id)))

    def expire(self, claimed: ClaimedPair) -> None:
        """Let the time of a claim run out."""
        with transaction() as s:
            claim = s.get_one(Claim, claimed.claim.id)
            claim.expires_at = claim.created_at


def make_world(pairs: int, **settings: Any) -> World:
    """A project of ``pairs`` imported pairs; M is all of them unless ``batch_size`` says so."""
    values = {"acquisition": "random", "source": "imported", "batch_size": max(pairs, 1)}
    with transaction() as s:
        project = Project(name="Test", base_model="base", **{**values, **settings})
        s.add(project)
        s.flush()
        base = Policy(project_id=project.id, number=0, kind="base", base_model="base")
        s.add(base)
        s.flush()
        project.policy_id = base.id
        for i in range(pairs):
            prompt = Prompt(project_id=project.id, content=f"Prompt {i}", content_hash=str(i))
            s.add(prompt)
            s.flush()
            s.add(
                Pair(
                    project_id=project.id,
                    prompt_id=prompt.id,
                    completion_a=f"a{i}",
                    completion_b=f"b{i}",
                )
            )
    return World(project)


@pytest.fixture
def world(database: Engine) -> Callable[..., World]:
    """Makes worlds on the empty database."""
    return make_world
