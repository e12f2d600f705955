"""A shard of a round's pool: two completions a prompt, scored by the policy and by π_0."""

from __future__ import annotations

import dataclasses
import datetime as dt
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo import types
from activedpo.acquisition.combine import surprise
from activedpo.errors import ActiveDPOError, ContextOverflow
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.rounds import events, features, selection, stages
from app.rounds.models import Round, Run
from worker import engines, measure, models
from worker.loaded import Models, as_prompt
from worker.report import Report
from worker.work import Asked, GenerateOutcome, GenerateWork, LeftOut, Scored, Setting, Wire

if TYPE_CHECKING:
    from activedpo.server_engine import ServerEngine

WORK, OUTCOME = Wire(GenerateWork), Wire(GenerateOutcome)
SAMPLING = ("max_new_tokens", "temperature", "top_p", "top_k")

_COUNT_USE = text(
    """
    UPDATE prompts SET times_used = times_used + v.uses
    FROM unnest(CAST(:ids AS uuid[]), CAST(:uses AS int[])) AS v(id, uses)
    WHERE prompts.id = v.id
    """
)


def load(session: Session, run: Run) -> GenerateWork:
    """What the shard needs, read in one short transaction."""
    round = session.get_one(Round, run.round_id)
    project = session.get_one(Project, run.project_id)
    policy = session.get(Policy, round.policy_in_id) if round.policy_in_id else None
    entropy = selection.needs_entropy(project, policy)
    kind = selection.needs_features(project, policy)
    past = features.labelled(session, policy) if kind and run.shard == 0 else []
    return GenerateWork(
        setting=models.setting_of(project, round, policy, salt=run.shard),
        prompts=_prompts(session, run.input.get("prompts", [])),
        pairs=_imported(session, run.input.get("pairs", [])),
        generation=project.generation,
        entropy_samples=int(project.generation.get("entropy_samples", 8)) if entropy else 0,
        features=kind,
        labelled=[library_pair(one.pair, one.prompt_content) for one in past],
        engine=engines.of_project(project, policy) if run.input.get("prompts") else None,
    )


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: sample, score, and measure entropy where the acquisition reads it."""
    work = WORK.unpack(data)
    size = len(work.prompts) + len(work.pairs)
    report("loading", 0, size)
    policy, reference = held.of(work.setting)
    engine = engines.opened(work, held)
    if work.prompts:
        keys, pairs, left_out = _generated(policy, work, report, engine)
    else:
        keys, pairs, left_out = _given(policy, work)
    if not pairs and left_out:
        raise ActiveDPOError(_nothing_fits(left_out, policy.context))
    scores = ad.score_pairs(
        policy,
        pairs,
        reference,
        work.setting.beta,
        hidden=work.features == "hidden",
        token_budget=work.generation.get("batch_tokens"),
        progress=report.of("scoring"),
    )
    sampled = engines.compared(engine, pairs, scores)
    entropy = _entropy(policy, pairs, work, report)
    perplexity = [_finite(value) for value in np.exp(surprise(scores))]
    seen = measure.of_pool(policy, pairs, work.features, scores.hidden)
    scored = [
        Scored(
            key=key,
            pair=_storable(pair),
            equal=pair.equal,
            logp_a=float(scores.logp_a[i]),
            logp_b=float(scores.logp_b[i]),
            ref_logp_a=float(scores.ref_logp_a[i]),
            ref_logp_b=float(scores.ref_logp_b[i]),
            margin=float(scores.margin[i]),
            entropy=entropy[i],
            perplexity=perplexity[i],
            features=seen[i],
        )
        for i, (key, pair) in enumerate(zip(keys, pairs, strict=True))
    ]
    labelled = measure.of_labelled(policy, work)
    return OUTCOME.pack(GenerateOutcome(scored, left_out, labelled, sampled))


def store(session: Session, run: Run, work: GenerateWork, outcome: GenerateOutcome) -> None:
    """Keep the shard, once: the caller holds the run under its fencing number."""
    round = session.get_one(Round, run.round_id)
    if work.prompts:
        _insert_pairs(session, round, outcome.scored)
        uses = Counter(asked.id for asked in work.prompts)
        session.execute(_COUNT_USE, {"ids": list(uses), "uses": list(uses.values())})
    else:
        _update_pairs(session, round, outcome)
    measure.keep(session, outcome.labelled)
    engines.keep(round, outcome.sampled)
    if outcome.left_out:
        _note_left_out(session, run, round, outcome.left_out)
    stages.generated(session, run)


def _prompts(session: Session, ids: Sequence[str]) -> list[Asked]:
    wanted = {UUID(id) for id in ids}
    rows = session.execute(select(Prompt.id, Prompt.content).where(Prompt.id.in_(wanted)))
    contents = {str(id): content for id, content in rows}
    return [Asked(id, contents[id]) for id in ids if id in contents]


def _imported(session: Session, ids: Sequence[str]) -> list[types.Pair]:
    rows = session.execute(
        select(Pair, Prompt.content)
        .join(Prompt, Prompt.id == Pair.prompt_id)
        .where(Pair.id.in_([UUID(id) for id in ids]))
        .order_by(Pair.id)
    )
    return [library_pair(pair, content) for pair, content in rows]


def library_pair(pair: Pair, prompt: Any) -> types.Pair:
    """A stored pair as the library takes it, with the ids and prompt that were kept."""
    return types.Pair(
        prompt=prompt,
        completion_a=pair.completion_a,
        completion_b=pair.completion_b,
        finished_a=pair.finished_a,
        finished_b=pair.finished_b,
        tokens_a=None if pair.tokens_a is None else tuple(pair.tokens_a),
        tokens_b=None if pair.tokens_b is None else tuple(pair.tokens_b),
        prompt_tokens=None if pair.tokens_prompt is None else tuple(pair.tokens_prompt),
        id=str(pair.id),
    )


def _generated(
    policy: ad.Policy, work: GenerateWork, report: Report, engine: ServerEngine | None
) -> tuple[list[str], list[types.Pair], list[LeftOut]]:
    from activedpo.decoding import decode
    from activedpo.encoding import encode_prompt

    keys, prompts, left_out = [], [], []
    for asked in work.prompts:
        prompt = as_prompt(policy, asked.prompt, work.setting)
        length = len(encode_prompt(policy, prompt))
        if length >= policy.context:
            left_out.append(LeftOut(asked.id, str(ContextOverflow(0, length, policy.context))))
        else:
            keys.append(asked.id)
            prompts.append(prompt)
    pairs = ad.generate_pairs(
        policy,
        prompts,
        **sampling(work.generation),
        seed=work.setting.seed,
        progress=report.of("generating"),
        engine=engine or decode,
    )
    return keys, pairs, left_out


def _given(
    policy: ad.Policy, work: GenerateWork
) -> tuple[list[str], list[types.Pair], list[LeftOut]]:
    fitting, left_out = fit(policy, work.pairs, work.setting)
    return [str(pair.id) for pair in fitting], fitting, left_out


def fit(
    policy: ad.Policy,
    pairs: Sequence[types.Pair],
    setting: Setting,
    max_length: int | None = None,
) -> tuple[list[types.Pair], list[LeftOut]]:
    """(the pairs as the model is asked them, those that cannot be, each with the reason).

    Args:
        max_length: tokens of prompt and completion together that the project allows, where fewer
            than the context.
    """
    from activedpo.encoding import encode_pair

    fitting, left_out = [], []
    for index, stored in enumerate(pairs):
        pair = dataclasses.replace(stored, prompt=as_prompt(policy, stored.prompt, setting))
        try:
            tokens = encode_pair(policy, pair, index).longest
        except ActiveDPOError as error:
            left_out.append(LeftOut(str(pair.id), str(error)))
            continue
        if max_length is not None and tokens > max_length:
            reason = f"needs {tokens} tokens, but the training's max_length is {max_length}"
            left_out.append(LeftOut(str(pair.id), reason))
        else:
            fitting.append(pair)
    return fitting, left_out


def sampling(generation: dict[str, Any]) -> dict[str, Any]:
    """The project's sampling settings, as the library's keywords."""
    given = {key: generation[key] for key in SAMPLING if key in generation}
    return given | {"max_rows": _rows(generation)}


def _rows(generation: dict[str, Any]) -> int | None:
    """Sequences in flight that a budget of ``batch_tokens`` allows; None: as memory allows."""
    budget = generation.get("batch_tokens")
    return budget and max(1, int(budget) // int(generation.get("max_new_tokens", 128)))


def _entropy(
    policy: ad.Policy, pairs: Sequence[types.Pair], work: GenerateWork, report: Report
) -> Sequence[float | None]:
    n = work.entropy_samples
    if not n or not pairs:
        return [None] * len(pairs)
    distinct = list({repr(pair.prompt): pair.prompt for pair in pairs}.items())
    values = ad.prompt_entropy(
        policy,
        [prompt for _, prompt in distinct],
        n=n,
        per_token=bool(work.generation.get("entropy_per_token", False)),
        seed=work.setting.seed + 1,
        max_new_tokens=int(work.generation.get("max_new_tokens", 128)),
        max_rows=_rows(work.generation),
        progress=lambda done, total: report("entropy", done // n, total // n),
    )
    by_prompt = {key: float(value) for (key, _), value in zip(distinct, values, strict=True)}
    return [by_prompt[repr(pair.prompt)] for pair in pairs]


def _finite(value: float) -> float | None:
    # A log-probability of −inf is refused where it is ranked by, by the name of its pair
    return float(value) if np.isfinite(value) else None


def _storable(pair: types.Pair) -> types.Pair:
    # Postgres keeps no NUL; the token ids keep what was really written
    a, b = (t.replace("\x00", "\ufffd") for t in (pair.completion_a, pair.completion_b))
    return dataclasses.replace(pair, completion_a=a, completion_b=b)


def _nothing_fits(left_out: Sequence[LeftOut], context: int) -> str:
    return (
        f"none of the {len(left_out)} prompts or pairs fits the model's context of {context} "
        f"tokens (the first: {left_out[0].reason})"
    )


def _insert_pairs(session: Session, round: Round, scored: Sequence[Scored]) -> None:
    if not scored:
        return
    rows = [
        {
            "project_id": round.project_id,
            "round_id": round.id,
            "policy_id": round.policy_in_id,
            "prompt_id": UUID(row.key),
            "completion_a": row.pair.completion_a,
            "completion_b": row.pair.completion_b,
            "tokens_prompt": row.pair.prompt_tokens and list(row.pair.prompt_tokens),
            "tokens_a": None if row.pair.tokens_a is None else list(row.pair.tokens_a),
            "tokens_b": None if row.pair.tokens_b is None else list(row.pair.tokens_b),
            "finished_a": row.pair.finished_a,
            "finished_b": row.pair.finished_b,
            "state": "equal" if row.equal else "pool",
            **_numbers(row, round),
        }
        for row in scored
    ]
    session.execute(insert(Pair), rows)


def _update_pairs(session: Session, round: Round, outcome: GenerateOutcome) -> None:
    rows = [
        {
            "id": UUID(row.key),
            "state": "equal" if row.equal else "pool",
            **_numbers(row, round),
        }
        for row in outcome.scored
    ]
    if rows:
        session.execute(update(Pair), rows)
    left = [UUID(out.id) for out in outcome.left_out]
    session.execute(update(Pair).where(Pair.id.in_(left)).values(state="dropped"))


def _numbers(row: Scored, round: Round) -> dict[str, Any]:
    return {
        "logp_a": row.logp_a,
        "logp_b": row.logp_b,
        "ref_logp_a": row.ref_logp_a,
        "ref_logp_b": row.ref_logp_b,
        "margin": row.margin,
        "entropy": row.entropy,
        "perplexity": row.perplexity,
        "features": None if row.features is None else b64decode(row.features),
        "scored_by": round.policy_in_id,
        "scored_at": dt.datetime.now(dt.UTC),
    }


def _note_left_out(session: Session, run: Run, round: Round, left_out: Sequence[LeftOut]) -> None:
    named = [dataclasses.asdict(out) for out in left_out[:100]]
    run.output = {"left_out": len(left_out), "named": named}
    before = int(round.metrics.get("left_out", 0))
    round.metrics = {**round.metrics, "left_out": before + len(left_out)}
    events.record(
        session,
        "pairs.left_out",
        project_id=round.project_id,
        round_id=round.id,
        count=len(left_out),
        named=named[:20],
    )
