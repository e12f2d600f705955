"""A project with prompts, policies and two models' outputs, and the verbs of evaluations."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database import transaction
from app.evaluations import actions, outputs, queries, view
from app.evaluations.actions import Asked, Side
from app.evaluations.models import Evaluation
from app.models import Outputs, Pair, Policy, Project, Prompt
from app.projects.row import Row
from tests.labelling.conftest import World, make_world

OURS, THEIRS = "ours", "theirs"


class Duel(World):
    """The world of labelling, and what may be done to evaluations in it."""

    def bring(self, name: str, *, every: int = 1) -> uuid.UUID:
        """Outputs of a model: ``{name} says {n}`` to every ``every``-th eval prompt."""
        with transaction() as s:
            prompts = self._prompts(s)
            rows = [
                Row(n, {"prompt": text, "completion": f"{name} says {n}"})
                for n, text in enumerate(prompts)
                if n % every == 0
            ]
            project = s.get_one(Project, self.project.id)
            return outputs.import_outputs(s, project, name, rows, None)[0].id

    def _prompts(self, s: Any) -> list[str]:
        mine = (Prompt.project_id == self.project.id) & (Prompt.split == "eval")
        return list(s.scalars(select(Prompt.content).where(mine).order_by(Prompt.id)))

    def outputs(self, name: str) -> uuid.UUID:
        """Those outputs, brought where they are not there."""
        with transaction() as s:
            found = s.scalar(
                select(Outputs.id).where(
                    Outputs.project_id == self.project.id, Outputs.name == name
                )
            )
        return found or self.bring(name)

    def policy(self, number: int = 0) -> uuid.UUID:
        """π_0, or another policy without files."""
        with transaction() as s:
            mine = Policy.project_id == self.project.id
            found = s.scalar(select(Policy.id).where(mine, Policy.number == number))
            if found is not None:
                return found
            made = Policy(
                project_id=self.project.id,
                number=number,
                kind="adapter",
                base_model="base",
                path=f"policy-{number}",
            )
            s.add(made)
            s.flush()
            return made.id

    def evaluate(self, **more: Any) -> Evaluation:
        """Open one: of imported outputs, unless sides are given; it takes answers at once."""
        sides = {
            "a": Side(outputs=self.outputs(OURS)),
            "b": Side(outputs=self.outputs(THEIRS)),
        }
        with transaction() as s:
            project = s.get_one(Project, self.project.id)
            return actions.create(s, project, Asked(**{**sides, **more}), None)

    def now(self, evaluation: Evaluation) -> Evaluation:
        with transaction() as s:
            return s.get_one(Evaluation, evaluation.id)

    def do(self, verb: Callable[..., Evaluation], evaluation: Evaluation) -> Evaluation:
        """Close, cancel or retry."""
        with transaction() as s:
            return verb(s, s.get_one(Evaluation, evaluation.id), None)

    def result(self, evaluation: Evaluation) -> view.Result:
        with transaction() as s:
            return view.result(s, s.get_one(Evaluation, evaluation.id))

    def annotators(self, evaluation: Evaluation) -> list[view.OfAnnotator]:
        with transaction() as s:
            return view.annotators(s, s.get_one(Evaluation, evaluation.id))

    def pairs_of(self, evaluation: Evaluation) -> list[Pair]:
        with transaction() as s:
            mine = select(Pair).where(Pair.evaluation_id == evaluation.id)
            return list(s.scalars(mine.order_by(Pair.rank)))

    def left(self, who: str) -> int:
        with transaction() as s:
            return queries.left_for(s, self.project.id, self.person(who))

    def say(self, who: str, winner: str, most: int = 100) -> int:
        """Claim and answer up to ``most`` pairs, each for the side that ``winner`` wrote (or a
        choice that names no side); how many there were."""
        said = 0
        while said < most and (held := self.claim(who)):
            self.prefer(who, held[0], choice_for(held[0], winner))
            said += 1
        return said


def choice_for(claimed: Any, winner: str) -> str:
    """The side on which ``winner``'s text stands, or ``winner`` itself where it is a choice."""
    if winner not in (OURS, THEIRS):
        return winner
    return "left" if claimed.left.startswith(winner) else "right"


@pytest.fixture
def duel(database: Engine) -> Callable[..., Duel]:
    """Makes worlds with ``prompts`` eval prompts and no pairs, unless ``pairs`` says so."""

    def make(prompts: int = 6, pairs: int = 0, **settings: Any) -> Duel:
        made = make_world(pairs, **settings)
        with transaction() as s:
            s.add_all(
                Prompt(
                    project_id=made.project.id,
                    content=f"Eval {n}",
                    content_hash=_hash(f"Eval {n}"),
                    split="eval",
                )
                for n in range(prompts)
            )
        return Duel(made.project, made.people)

    return make


def _hash(text: str) -> str:
    from app.projects import content

    return content.prompt_hash(text)
