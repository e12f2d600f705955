"""Generating projects whose worker is the test itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database import transaction
from app.labelling import actions as labelling
from app.models import Membership, Pair, Person, Policy, Project, Prompt, Round, Run
from app.rounds import actions, stages


class Hand:
    """One project, and a worker whose every move the test makes."""

    def __init__(self, prompts: int, **settings: Any) -> None:
        with transaction() as s:
            project = Project(name="T", base_model="m", **{"batch_size": 2, **settings})
            s.add(project)
            s.flush()
            base = Policy(project_id=project.id, number=0, kind="base", base_model="m")
            s.add(base)
            for i in range(prompts):
                s.add(Prompt(project_id=project.id, content=f"p{i}", content_hash=str(i)))
            s.flush()
            project.policy_id = base.id
        self.id = project.id

    def do(self, verb: Callable[..., Any], *rest: Any) -> Any:
        """An action on the newest round."""
        with transaction() as s:
            return verb(s, s.get_one(Round, self.round().id), *rest)

    def open(self) -> Round:
        with transaction() as s:
            return actions.open_round(s, s.get_one(Project, self.id), None)

    def round(self) -> Round:
        with transaction() as s:
            query = select(Round).where(Round.project_id == self.id).order_by(Round.number.desc())
            return s.scalars(query.limit(1)).one()

    def runs(self, kind: str | None = None) -> list[Run]:
        with transaction() as s:
            query = select(Run).where(Run.round_id == self.round().id).order_by(Run.shard)
            return [run for run in s.scalars(query) if kind in (None, run.kind)]

    def pairs(self, *states: str) -> list[Pair]:
        with transaction() as s:
            query = select(Pair).where(Pair.project_id == self.id).order_by(Pair.rank)
            return [pair for pair in s.scalars(query) if not states or pair.state in states]

    def generate(
        self,
        margin: Callable[[int], float] = lambda i: 0.0,
        texts: Callable[[int], tuple[str, str]] = lambda i: ("x", "y"),
        perplexity: Callable[[int], float | None] = lambda i: None,
    ) -> None:
        """Store every shard: one pair a prompt, with these margins, texts and perplexities."""
        count = 0
        for run in self.runs("generate"):
            with transaction() as s:
                held = s.get_one(Run, run.id)
                for prompt in held.input["prompts"]:
                    values = dict.fromkeys(("logp_a", "logp_b", "ref_logp_a", "ref_logp_b"), -1.0)
                    s.add(
                        Pair(
                            project_id=self.id,
                            prompt_id=prompt,
                            round_id=held.round_id,
                            completion_a=texts(count)[0],
                            completion_b=texts(count)[1],
                            margin=margin(count),
                            perplexity=perplexity(count),
                            entropy=float(count),
                            **values,
                        )
                    )
                    count += 1
                stages.generated(s, held)

    def train(self) -> None:
        """Publish a policy for the round."""
        round = self.round()
        with transaction() as s:
            policy = Policy(
                project_id=self.id,
                number=round.number,
                kind="adapter",
                base_model="m",
                path=f"p/{round.number}",
                round_id=round.id,
                parent_id=round.policy_in_id,
                metrics={"loss": 0.5},
            )
            stages.trained(s, s.get_one(Run, self.runs("train")[0].id), policy)

    def evaluate(self) -> None:
        with transaction() as s:
            run = s.get_one(Run, self.runs("evaluate")[0].id)
            stages.evaluated(s, run, {"win_rate": 0.5})

    def fail(self, kind: str) -> None:
        with transaction() as s:
            stages.failed(s, s.get_one(Run, self.runs(kind)[0].id), "out of memory")


@pytest.fixture
def hand(database: Engine) -> Callable[..., Hand]:
    """Makes projects on the empty database."""
    return Hand


@pytest.fixture
def ann(database):
    with transaction() as s:
        person = Person(email="ann@example.org")
        s.add(person)
        s.flush()
        return person.id


def label(hand, person, choice="left"):
    """Answer everything that is open."""
    with transaction() as s:
        s.merge(Membership(project_id=hand.id, person_id=person, role="annotator"))
    with transaction() as s:
        project = s.get_one(Project, hand.id)
        claims = labelling.claim_pairs(s, project, person, 50)
    for claimed in claims:
        with transaction() as s:
            labelling.prefer(s, claimed.claim.id, person, labelling.Answer(choice))
