"""A round's evaluation: the new policy beside π_0 on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo import types
from app.policies.models import Policy
from app.projects.models import Project, Prompt
from app.rounds import queries, stages
from app.rounds.models import Round, Run
from worker import models
from worker.generate import sampling
from worker.loaded import Models, as_prompt
from worker.report import Report
from worker.work import Asked, EvaluateOutcome, EvaluateWork, Wire

WORK, OUTCOME = Wire(EvaluateWork), Wire(EvaluateOutcome)
MOST_PROMPTS = 64
"""Prompts asked in one evaluation, unless the project's generation settings say otherwise."""


def load(session: Session, run: Run) -> EvaluateWork:
    """What the evaluation needs, read in one short transaction."""
    round = session.get_one(Round, run.round_id)
    project = session.get_one(Project, run.project_id)
    policy = session.get(Policy, round.policy_out_id) if round.policy_out_id else None
    most = int(project.generation.get("eval_prompts", MOST_PROMPTS))
    prompts = _prompts(session, project, "eval", most)
    return EvaluateWork(
        setting=models.setting_of(project, round, policy, salt=7),
        prompts=prompts or _prompts(session, project, "train", most),
        held_out=bool(prompts),
        generation=project.generation,
        judge=project.judge,
    )


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: sample both policies, compare, judge where there is a judge."""
    work = WORK.unpack(data)
    report("loading", 0, 2 * len(work.prompts))
    policy, reference = held.of(work.setting)
    prompts = _fitting(policy, work)
    if not prompts:
        return OUTCOME.pack(EvaluateOutcome(_no_win_rate("no prompt fits the context")))
    ours = _sample(policy, prompts, work, report, 0)
    with policy.adapter_off():
        theirs = _sample(reference or policy, prompts, work, report, 1)
    pairs = [_pair(prompt, a, b) for prompt, a, b in zip(prompts, ours, theirs, strict=True)]
    scores = ad.score_pairs(
        policy, pairs, reference, work.setting.beta, progress=report.of("scoring")
    )
    metrics = _distance(scores) | _texts(ours, "") | _texts(theirs, "_base")
    metrics |= {"eval_prompts": len(prompts), "eval_held_out": work.held_out}
    return OUTCOME.pack(EvaluateOutcome(metrics | _judged(work, prompts, ours, theirs)))


def store(session: Session, run: Run, _: EvaluateWork, outcome: EvaluateOutcome) -> None:
    """Close the round: the caller holds the run under its fencing number."""
    stages.evaluated(session, run, outcome.metrics)


def _prompts(session: Session, project: Project, split: str, most: int) -> list[Asked]:
    # the same prompts in every round, so that the curve over rounds compares like with like
    rows = session.execute(
        select(Prompt.id, Prompt.content)
        .where(Prompt.project_id == project.id, Prompt.split == split)
        .order_by(queries.shuffled(Prompt.id, project.seed))
        .limit(most)
    )
    return [Asked(str(id), content) for id, content in rows]


def _fitting(policy: ad.Policy, work: EvaluateWork) -> list[types.Prompt]:
    from activedpo.encoding import encode_prompt

    asked = [as_prompt(policy, item.prompt, work.setting) for item in work.prompts]
    return [prompt for prompt in asked if len(encode_prompt(policy, prompt)) < policy.context]


def _sample(
    policy: ad.Policy,
    prompts: Sequence[types.Prompt],
    work: EvaluateWork,
    report: Report,
    half: int,
) -> list[types.Completion]:
    n = len(prompts)
    made = ad.generate(
        policy,
        prompts,
        **sampling(work.generation),
        seed=work.setting.seed,
        progress=lambda done, _: report("evaluating", half * n + done, 2 * n),
    )
    return [completions[0] for completions in made]


def _pair(prompt: types.Prompt, a: types.Completion, b: types.Completion) -> types.Pair:
    return types.Pair(prompt, a.text, b.text, a.finished, b.finished, a.tokens, b.tokens)


def _distance(scores: types.Scores) -> dict[str, float]:
    """KL(π_θ ‖ π_0) in nats a token, over what the new policy itself wrote."""
    apart = float((scores.logp_a - scores.ref_logp_a).sum())
    return {"kl": apart / max(1, int(scores.tokens_a.sum()))}


def _texts(completions: Sequence[types.Completion], of: str) -> dict[str, float]:
    n = len(completions)
    return {
        f"tokens{of}": sum(len(c.tokens) for c in completions) / n,
        f"cut_share{of}": sum(not c.finished for c in completions) / n,
    }


def _judged(
    work: EvaluateWork,
    prompts: Sequence[types.Prompt],
    ours: Sequence[types.Completion],
    theirs: Sequence[types.Completion],
) -> dict[str, Any]:
    if work.judge is None:
        return _no_win_rate("the project has no judge")
    if not work.held_out:
        return _no_win_rate("the project has no eval prompts")
    return _no_win_rate("no judge yet")


def _no_win_rate(reason: str) -> dict[str, Any]:
    return {"win_rate": None, "win_rate_reason": reason}
