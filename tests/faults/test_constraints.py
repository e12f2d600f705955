"""What the database itself refuses, whatever Python does."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.labelling.models import Claim, Preference
from app.people.models import Person
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round, Run, TrainingLabel

LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


class Rows:
    """A project with one row of everything, and ways to add a second."""

    def __init__(self, db: Session) -> None:
        self.db = db
        self.project = self.add(Project(name="T", base_model="m"))
        self.ann, self.bob = (self.add(Person(email=f"{n}@example.com")) for n in ("ann", "bob"))
        self.round = self.add(Round(project_id=self.project.id, number=1, needed=1))
        prompt = self.add(Prompt(project_id=self.project.id, content="p", content_hash="p"))
        self.pair = self.add(
            Pair(
                project_id=self.project.id,
                prompt_id=prompt.id,
                completion_a="a",
                completion_b="b",
                content_hash="ab",
            )
        )
        self.mine = self.claim(self.ann)
        self.said = self.preference(self.mine, self.ann)

    def add(self, row: Any) -> Any:
        self.db.add(row)
        self.db.flush()
        return row

    def claim(self, person: Person, slot: int = 0, state: str = "live") -> Claim:
        return self.add(
            Claim(
                project_id=self.project.id,
                round_id=self.round.id,
                pair_id=self.pair.id,
                person_id=person.id,
                slot=slot,
                left_is="a",
                state=state,
                expires_at=LATER,
            )
        )

    def preference(self, claim: Claim, person: Person) -> Preference:
        return self.add(
            Preference(
                project_id=self.project.id,
                round_id=self.round.id,
                pair_id=self.pair.id,
                claim_id=claim.id,
                person_id=person.id,
                choice="left",
                chosen="a",
                left_is="a",
            )
        )

    def run(self, kind: str, shard: int = 0) -> Run:
        ids = {"project_id": self.project.id, "round_id": self.round.id}
        return self.add(Run(kind=kind, shard=shard, **ids))

    def policy(self, number: int) -> Policy:
        return self.add(
            Policy(
                project_id=self.project.id,
                number=number,
                kind="full",
                base_model="m",
                path="somewhere",
                round_id=self.round.id,
            )
        )


@pytest.fixture
def rows(db: Session) -> Rows:
    return Rows(db)


def test_two_annotators_never_hold_one_slot(rows: Rows) -> None:
    with pytest.raises(IntegrityError, match="uq_claims_slot"):
        rows.claim(rows.bob, slot=0, state="answered")


def test_nobody_holds_a_pair_twice(rows: Rows) -> None:
    rows.claim(rows.ann, slot=1, state="released")
    with pytest.raises(IntegrityError, match="uq_claims_person"):
        rows.claim(rows.ann, slot=1)


def test_one_preference_a_pair_and_annotator(rows: Rows) -> None:
    other = rows.claim(rows.bob, slot=1)
    rows.preference(other, rows.bob)
    with pytest.raises(IntegrityError, match="uq_preferences_pair_person"):
        rows.preference(rows.claim(rows.ann, slot=2, state="released"), rows.ann)


def test_one_preference_a_claim(rows: Rows) -> None:
    with pytest.raises(IntegrityError, match="uq_preferences_claim"):
        rows.preference(rows.mine, rows.bob)


def test_one_open_round_a_project(rows: Rows) -> None:
    with pytest.raises(IntegrityError, match="uq_rounds_one_open"):
        rows.add(Round(project_id=rows.project.id, number=2, needed=1))


def test_one_training_a_round_and_one_run_a_shard(rows: Rows) -> None:
    rows.run("train")
    rows.run("generate")
    rows.run("generate", shard=1)
    with pytest.raises(IntegrityError, match="uq_runs_project_id_round_id_kind_shard"):
        rows.run("train")


def test_one_policy_a_round(rows: Rows) -> None:
    rows.policy(1)
    with pytest.raises(IntegrityError, match="uq_policies_round_id"):
        rows.policy(2)


def test_a_label_is_fixed_for_a_round_once(rows: Rows) -> None:
    fixed = {"round_id": rows.round.id, "preference_id": rows.said.id}
    rows.add(TrainingLabel(version=1, **fixed))
    rows.db.expunge_all()
    with pytest.raises(IntegrityError, match="pk_training_labels"):
        rows.add(TrainingLabel(version=2, **fixed))


def test_a_choice_and_its_side_agree(rows: Rows) -> None:
    rows.said.chosen = "b"
    with pytest.raises(IntegrityError, match="ck_preferences_chosen"):
        rows.db.flush()
