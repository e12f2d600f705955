"""A trial of the playground: two policies answer one prompt."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.playground import actions
from app.playground.models import Trial
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Run
from worker import models
from worker.compare import OUTCOME, WORK
from worker.work import Asked, CompareOutcome, CompareWork

__all__ = ["OUTCOME", "WORK", "load", "store"]  # computed as a comparison of one prompt is
ONE = "prompt"


def load(session: Session, run: Run) -> CompareWork:
    """What it needs, read in one short transaction."""
    trial = session.get_one(Trial, run.trial_id)
    project = session.get_one(Project, run.project_id)
    sides = {}
    for n, (name, policy_id) in enumerate((("a", trial.policy_a_id), ("b", trial.policy_b_id))):
        policy = session.get_one(Policy, policy_id)
        sides[name] = models.setting_for(project, trial.seed + n, policy)
    return CompareWork(sides, [Asked(ONE, trial.prompt)], trial.generation)


def store(session: Session, run: Run, _: CompareWork, outcome: CompareOutcome) -> None:
    """Show the answers: the caller holds the run under its fencing number."""
    said = {
        side: (texts[ONE].storable, texts[ONE].finished)
        for side, texts in outcome.said.items()
        if ONE in texts
    }
    actions.answered(session, run, said)
