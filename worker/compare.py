"""A shard of a blind evaluation: one completion a prompt from each side that is a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo import types
from activedpo.errors import ContextOverflow
from app.evaluations import actions
from app.evaluations.models import Evaluation
from app.policies.models import Policy
from app.projects.models import Project, Prompt
from app.rounds.models import Run
from worker import models
from worker.loaded import Models, as_prompt
from worker.report import Report
from worker.work import Asked, CompareOutcome, CompareWork, Said, Setting, Wire

WORK, OUTCOME = Wire(CompareWork), Wire(CompareOutcome)


def load(session: Session, run: Run) -> CompareWork:
    """What the shard needs, read in one short transaction."""
    evaluation = session.get_one(Evaluation, run.evaluation_id)
    project = session.get_one(Project, run.project_id)
    sides = {}
    for n, (name, policy_id) in enumerate(
        (("a", evaluation.policy_a_id), ("b", evaluation.policy_b_id))
    ):
        if policy_id is not None:
            policy = session.get_one(Policy, policy_id)
            seed = evaluation.seed * 2 + n  # another one a side: independent samples
            sides[name] = models.setting_for(project, seed, policy, salt=run.shard)
    ids = run.input["prompts"]
    rows = session.execute(
        select(Prompt.id, Prompt.content).where(Prompt.id.in_([UUID(id) for id in ids]))
    )
    contents = {str(id): content for id, content in rows}
    asked = [Asked(id, contents[id]) for id in ids if id in contents]
    return CompareWork(sides, asked, evaluation.generation)


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: let each side answer."""
    from worker.generate import sampling

    work = WORK.unpack(data)
    total = len(work.sides) * len(work.prompts)
    report("loading", 0, total)
    said: dict[str, dict[str, Said]] = {}
    for n, (name, setting) in enumerate(work.sides.items()):
        policy = held.policy(setting.policy)
        asked = [(one.id, as_prompt(policy, one.prompt, setting)) for one in work.prompts]
        fitting = [(id, prompt) for id, prompt in asked if _fits(policy, prompt)]
        tick = _shifted(report, n * len(work.prompts), total)
        said[name] = _answers(policy, fitting, sampling(work.generation), setting, tick)
    return OUTCOME.pack(CompareOutcome(said))


def store(session: Session, run: Run, work: CompareWork, outcome: CompareOutcome) -> None:
    """Keep the shard's pairs, once: the caller holds the run under its fencing number."""
    evaluation = session.get_one(Evaluation, run.evaluation_id)
    by_side = {
        name: {UUID(id): one.storable for id, one in texts.items()}
        for name, texts in outcome.said.items()
    }
    prompts = [UUID(asked.id) for asked in work.prompts]
    first = int(run.input["first"])
    stored = actions.add_pairs(
        session, evaluation, prompts, first, by_side.get("a", {}), by_side.get("b", {})
    )
    actions.generated(session, run, left_out=len(prompts) - stored)


def _answers(
    policy: ad.Policy,
    asked: list[tuple[str, types.Prompt]],
    sampling: dict[str, Any],
    setting: Setting,
    tick: Callable[[int, int], None],
) -> dict[str, Said]:
    from activedpo.generation import generate

    if not asked:
        return {}
    made = generate(
        policy, [prompt for _, prompt in asked], **sampling, seed=setting.seed, progress=tick
    )
    return {id: Said(one.text, one.finished) for (id, _), (one,) in zip(asked, made, strict=True)}


def _fits(policy: ad.Policy, prompt: types.Prompt) -> bool:
    from activedpo.encoding import encode_prompt

    try:
        return len(encode_prompt(policy, prompt)) < policy.context
    except ContextOverflow:
        return False


def _shifted(report: Report, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: report("generating", before + done, total)
