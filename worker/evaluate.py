"""A round's evaluation: the new policy beside π_0 on the same prompts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo import types
from app.policies.models import Policy
from app.projects.models import Project, Prompt
from app.rounds import queries, stages
from app.rounds.models import Round, Run
from worker import judges, models
from worker.loaded import Models, as_prompt
from worker.report import Report
from worker.work import Asked, EvaluateOutcome, EvaluateWork, Wire

if TYPE_CHECKING:
    from activedpo.evaluation import Evaluation, WinRate
    from activedpo.oracles import Oracle

WORK, OUTCOME = Wire(EvaluateWork), Wire(EvaluateOutcome)
TEMPERATURE = 0.25
"""Of the samples that are compared (arXiv 2402.08114)."""


def load(session: Session, run: Run) -> EvaluateWork:
    """What the evaluation needs, read in one short transaction."""
    round = session.get_one(Round, run.round_id)
    project = session.get_one(Project, run.project_id)
    policy = session.get(Policy, round.policy_out_id) if round.policy_out_id else None
    most = int(project.generation.get("eval_prompts", 64))  # a project older than the setting
    prompts = _prompts(session, project, "eval", most)
    return EvaluateWork(
        setting=dataclasses.replace(
            models.setting_of(project, round, policy),
            seed=project.seed,  # the same in every round: the curve compares like with like
        ),
        prompts=prompts or _prompts(session, project, "train", most),
        held_out=bool(prompts),
        generation=project.generation,
        judge=judges.opened(project.judge),
    )


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: sample both policies, compare, judge where there is a judge."""
    from activedpo.evaluation import evaluate

    work = WORK.unpack(data)
    report("loading", 0, 0)
    policy, reference = held.of(work.setting)
    prompts = _fitting(policy, work)
    if not prompts:
        return OUTCOME.pack(EvaluateOutcome(_no_win_rate("no prompt fits the context")))
    judge, reason = _judge(work)
    asked = _question(work, prompts)
    found = evaluate(
        policy,
        prompts,
        judge,
        reference,
        max_new_tokens=int(work.generation.get("max_new_tokens", 128)),
        temperature=TEMPERATURE,
        seed=work.setting.seed,
        theirs=held.answers_of_base.get(asked),
        progress=report.of("evaluating"),
    )
    held.answers_of_base = {asked: found.theirs}  # the same in every round: made once
    metrics = _figures(found) | {"eval_prompts": len(prompts), "eval_held_out": work.held_out}
    return OUTCOME.pack(EvaluateOutcome(metrics | _won(found.win_rate, reason)))


def store(session: Session, run: Run, _: EvaluateWork, outcome: EvaluateOutcome) -> None:
    """Close the round: the caller holds the run under its fencing number."""
    stages.evaluated(session, run, outcome.metrics)


def _prompts(session: Session, project: Project, split: str, most: int) -> list[Asked]:
    rows = session.execute(
        select(Prompt.id, Prompt.content)
        .where(Prompt.project_id == project.id, Prompt.split == split, ~Prompt.gold)
        .order_by(queries.shuffled(Prompt.id, project.seed))
        .limit(most)
    )
    return [Asked(str(id), content) for id, content in rows]


def _fitting(policy: ad.Policy, work: EvaluateWork) -> list[types.Prompt]:
    from activedpo.encoding import encode_prompt

    asked = [as_prompt(policy, item.prompt, work.setting) for item in work.prompts]
    return [prompt for prompt in asked if len(encode_prompt(policy, prompt)) < policy.context]


def _question(work: EvaluateWork, prompts: Sequence[types.Prompt]) -> str:
    """What π_0's answers depend on."""
    tokens = work.generation.get("max_new_tokens")
    return repr((work.setting.base.base, tokens, work.setting.seed, prompts))


def _judge(work: EvaluateWork) -> tuple[Oracle | None, str]:
    """(who compares, or why nobody does)."""
    if work.judge is None:
        return None, "the project has no judge"
    if not work.held_out:
        return None, "the project has no eval prompts"
    try:
        return judges.made(work.judge), ""
    except (TypeError, ValueError) as error:
        return None, f"the judge cannot be made: {error}"


def _figures(found: Evaluation) -> dict[str, Any]:
    return {
        "kl": _number(found.kl_per_token),
        "tokens": _number(found.tokens),
        **{key: _number(value) for key, value in dataclasses.asdict(found.text).items()},
        **{
            f"base_{key}": _number(value)
            for key, value in dataclasses.asdict(found.reference_text).items()
        },
    }


def _won(found: WinRate | None, reason: str) -> dict[str, Any]:
    if found is None:
        return _no_win_rate(reason)
    if found.n == 0:
        reason = f"the judge abstained from all {found.abstained} comparisons"
        return _no_win_rate(reason) | {"judged": 0, "abstained": found.abstained}
    return {
        "win_rate": found.rate,
        "win_rate_low": found.low,
        "win_rate_high": found.high,
        "win_rate_reason": None,
        "judged": found.n,
        "abstained": found.abstained,
    }


def _no_win_rate(reason: str) -> dict[str, Any]:
    return {"win_rate": None, "win_rate_reason": reason}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
