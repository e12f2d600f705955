"""From a scored pool to a batch that is open for labelling.

The audit share is drawn first, at random from the whole pool, so that figures on it are
unbiased under any strategy; the acquisition's order fills the rest.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.orm import Session

from activedpo import acquisition
from activedpo.types import Scores
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds import features, pruning, queries
from app.rounds.models import Round

Pool = Sequence[Any]
"""Rows of :func:`app.rounds.queries.pool_of`."""

_SPARE = 4
"""Imported pairs looked at, as a multiple of M, to find M without near-duplicates."""

_STORE = text(
    """
    UPDATE pairs SET rank = v.rank, audit_rank = v.audit_rank, state = v.state,
           audit = v.audit, slots = v.slots, round_id = :round
    FROM unnest(CAST(:ids AS uuid[]), CAST(:ranks AS int[]), CAST(:audit_ranks AS int[]),
                CAST(:states AS text[]), CAST(:audits AS bool[]), CAST(:slots AS int[]))
         AS v(id, rank, audit_rank, state, audit, slots)
    WHERE pairs.id = v.id
    """
)


@dataclass(frozen=True)
class Batch:
    """Which pairs of a pool are asked about. All sequences run over the pool's indices.

    Attributes:
        order: the acquisition's order, most wanted first; a permutation of the pool.
        audit_order: a random order of the same pool.
        chosen: the indices selected.
        audit: the part of ``chosen`` that was drawn at random.
    """

    order: NDArray[np.int64]
    audit_order: NDArray[np.int64]
    chosen: frozenset[int]
    audit: frozenset[int]


def choose(
    order: NDArray[np.int64], batch_size: int, audit_fraction: float, rng: np.random.Generator
) -> Batch:
    """Draw the audit share (count rounded up) from the whole pool, then fill by ``order``.

    Args:
        order: indices of the pool, most wanted first, shape (n,).
        batch_size: M; a smaller pool is taken whole.
        audit_fraction: share of M drawn at random, 0 to 1.
        rng: source of the audit's order.
    """
    size = min(batch_size, len(order))
    audit_order = rng.permutation(len(order))
    audit = frozenset(map(int, audit_order[: math.ceil(audit_fraction * size)]))
    wanted = [int(i) for i in order if int(i) not in audit]
    chosen = audit | frozenset(wanted[: size - len(audit)])
    return Batch(order, audit_order, chosen, audit)


def wanted_first(order: NDArray[np.int64], wanted: Sequence[bool]) -> NDArray[np.int64]:
    """``order`` with what somebody wants asked before all else; both keep their own order."""
    first = np.asarray(wanted, dtype=bool)[order]
    return np.concatenate([order[first], order[~first]])


def slots_for(count: int, overlap: int, share: float, rng: np.random.Generator) -> list[int]:
    """How many annotators each of ``count`` selected pairs gets: ``overlap`` on a share, else 1."""
    doubled = set(rng.permutation(count)[: math.ceil(share * count)].tolist())
    return [overlap if i in doubled else 1 for i in range(count)]


def store(
    session: Session, round: Round, project: Project, ids: Sequence[uuid.UUID], batch: Batch
) -> None:
    """Write ranks for the whole pool and open the chosen pairs."""
    rank = np.empty(len(ids), dtype=int)
    rank[batch.order] = np.arange(len(ids))
    audit_rank = np.empty(len(ids), dtype=int)
    audit_rank[batch.audit_order] = np.arange(len(ids))
    rng = np.random.default_rng([round.seed, 2])
    slots = iter(slots_for(len(batch.chosen), project.overlap, project.overlap_share, rng))
    session.flush()
    session.execute(
        _STORE,
        {
            "round": round.id,
            "ids": list(ids),
            "ranks": rank.tolist(),
            "audit_ranks": audit_rank.tolist(),
            "states": ["open" if i in batch.chosen else "pool" for i in range(len(ids))],
            "audits": [i in batch.audit for i in range(len(ids))],
            "slots": [next(slots) if i in batch.chosen else 1 for i in range(len(ids))],
        },
    )
    round.needed = len(batch.chosen)
    round.metrics = {**round.metrics, "selected": len(batch.chosen)}


def strategy_for(project: Project, policy_in: Policy | None) -> tuple[str, str | None]:
    """The strategy this round uses, and why where it is not the project's own.

    Before the first training π_θ = π_0, every margin is 0 and there is no label, so a strategy
    that reads margins or learns from labels would rank noise: the project's cold start takes
    its place (Muldrew et al. 2024 saw no difference at the first step).
    """
    wanted = acquisition.strategy(project.acquisition)
    base = policy_in is None or policy_in.kind == "base"
    if base and wanted.needs_margin:
        return project.cold_start, (
            f"{project.acquisition} reads margins, and before the first training every margin "
            f"is 0: {project.cold_start} chose this batch."
        )
    if base and wanted.needs_past:
        return project.cold_start, (
            f"{project.acquisition} learns from labels, and before the first training there are "
            f"none: {project.cold_start} chose this batch."
        )
    return project.acquisition, None


def needs_entropy(project: Project, policy_in: Policy | None) -> bool:
    """Whether the round's pool needs the prompts' entropy."""
    return acquisition.needs_entropy(strategy_for(project, policy_in)[0])


def needs_features(project: Project, policy_in: Policy | None) -> str:
    """The kind of features that the round's pool needs: "hidden", "gradient", or "" for none."""
    return acquisition.needs_features(strategy_for(project, policy_in)[0])


def select_batch(session: Session, round: Round, project: Project) -> None:
    """Rank the round's scored pool and open M pairs of it."""
    pool = queries.pool_of(session, round.id)
    policy_in = session.get(Policy, round.policy_in_id) if round.policy_in_id else None
    strategy, why = strategy_for(project, policy_in)
    seen, past = _features(session, strategy, pool, policy_in)
    kept = pruning.keep(session, project, pool)
    order = _ranked(strategy, pool, project.batch_size, round.seed, seen, past, kept)
    order = wanted_first(order, [row.wanted for row in pool])
    rng = np.random.default_rng([round.seed, 1])
    batch = choose(order, project.batch_size, project.audit_fraction, rng)
    store(session, round, project, [row.id for row in pool], batch)
    round.metrics = {
        **round.metrics,
        "acquisition": strategy,
        "acquisition_note": why,
        "acquisition_wanted": project.acquisition,
        "pool": len(pool),
        "pruned": 0 if kept is None else int((~kept).sum()),
        "audit": len(batch.audit),
    }


def select_at_random(session: Session, round: Round, project: Project) -> None:
    """Open M waiting imported pairs at random: no model, no ranking of the rest.

    Near-duplicates are passed over where others are found among `_SPARE` times as many; without a
    model there is no perplexity to prune by.
    """
    ids = _drawn(session, round, project)
    everything = np.arange(len(ids))
    wanted = set(queries.wanted_in_pool(session, project.id))
    unbiased = [i for i, id in enumerate(ids) if id not in wanted]
    asked = [i for i, id in enumerate(ids) if id in wanted]  # chosen by somebody, not by chance
    audit = frozenset([*unbiased, *asked][: math.ceil(project.audit_fraction * len(ids))])
    batch = Batch(everything, everything, frozenset(range(len(ids))), audit)
    store(session, round, project, ids, batch)
    round.metrics = {**round.metrics, "acquisition": "random", "audit": len(audit)}


def _drawn(session: Session, round: Round, project: Project) -> list[uuid.UUID]:
    size = project.batch_size
    if project.generation.get("near_duplicates") is None:
        return queries.sample_pool(session, project.id, size, round.seed)
    ids = queries.sample_pool(session, project.id, _SPARE * size, round.seed)
    kept = pruning.distinct(session, project, ids)
    others_last = np.argsort(~kept, kind="stable") if kept is not None else range(len(ids))
    wanted = set(queries.wanted_in_pool(session, project.id))
    rest = [ids[i] for i in others_last if ids[i] not in wanted]
    return [*(id for id in ids if id in wanted), *rest][:size]


def _ranked(
    strategy: str,
    pool: Pool,
    m: int,
    seed: int,
    seen: NDArray[np.float64] | None = None,
    past: acquisition.Past | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """The whole pool in the order of ``strategy``: its own choice of M, then all the others.

    M matters to a strategy that shortlists; the tail is only for pairs that everyone skips.
    """
    if not pool:
        return np.zeros(0, dtype=np.int64)
    return acquisition.rank(
        strategy,
        _scores(pool),
        m,
        seed=seed,
        entropy=_column(pool, "entropy"),
        size=len(pool),
        features=seen,
        past=past,
        keep=kept,
        ids=[str(row.id) for row in pool],
    )


def _features(
    session: Session, strategy: str, pool: Pool, policy_in: Policy | None
) -> tuple[NDArray[np.float64] | None, acquisition.Past | None]:
    """What the strategy looks at: features of the pool, and of what was labelled before."""
    if not acquisition.needs_features(strategy):
        return None, None
    found = features.unpack([row.features for row in pool])
    if found is None:
        return None, None
    return found, features.past_of(session, policy_in, found.shape[2])


def _column(pool: Pool, name: str) -> NDArray[np.float64] | None:
    values = [getattr(row, name) for row in pool]
    if any(value is None for value in values):
        return None
    return np.asarray(values, dtype=np.float64)


def _scores(pool: Pool) -> Scores:
    """Scores of a pool; NaN where a number was not measured, which a strategy refuses by name."""
    n = len(pool)

    def floats(name: str) -> NDArray[np.float64]:
        column = _column(pool, name)
        return np.full(n, np.nan) if column is None else column

    zeros = np.zeros(n, dtype=np.int64)
    return Scores(
        logp_a=floats("logp_a"),
        logp_b=floats("logp_b"),
        ref_logp_a=floats("ref_logp_a"),
        ref_logp_b=floats("ref_logp_b"),
        margin=floats("margin"),
        tokens_a=zeros,
        tokens_b=zeros,
        equal=zeros.astype(bool),
    )
