"""Who samples a shard: the child itself, or a server; and how far a server's log-probs are off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import activedpo as ad
from activedpo.errors import ActiveDPOError, ModelMismatch
from activedpo.types import Pair
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Round
from app.sealed import unsealed_in
from app.settings import get_settings
from worker.loaded import Models
from worker.work import GenerateWork, Sampled, ServerAt

if TYPE_CHECKING:
    from activedpo.server_engine import ServerEngine

MOST_OFF = 1.0
"""Nats a token between the server's log-probs and ours, on average, beyond which it serves another
model: rounding is hundredths, quantised weights tenths."""


def of_project(project: Project, policy: Policy | None) -> ServerAt | None:
    """The server of a project, as the child is told of it; None: the child samples.

    Raises:
        ActiveDPOError: the server cannot have this policy.
        UnreadableSecretError: the site's secret key has changed.
    """
    stored: dict[str, Any] | None = project.generation.get("engine")
    if stored is None:
        return None
    given = unsealed_in(stored, "api_key")
    adapter, others = None, None
    if policy is not None and policy.kind != "base":
        _check_served(policy, lora=bool(given.get("lora")))
        others = f"activedpo-{project.id}-"
        adapter = f"{others}{Path(str(policy.path)).parent.name}-{Path(str(policy.path)).name}"
    return ServerAt(
        base_url=given["base_url"],
        model=given["model"],
        api_key=given.get("api_key"),
        adapter=adapter,
        others=others,
        adapters_at=given.get("adapters_at"),
        concurrency=int(given.get("concurrency", 16)),
        timeout=float(given.get("timeout", 300.0)),
        public_only=not get_settings().allow_private_addresses,
    )


def _check_served(policy: Policy, *, lora: bool) -> None:
    if policy.kind == "full":
        raise ActiveDPOError(
            "generation.engine: a server takes adapters from here and no full weights: take the "
            "engine out of the project, or train with LoRA"
        )
    if not lora:
        raise ActiveDPOError(
            f"generation.engine: the server has the base model, and the round starts from policy "
            f"{policy.number}: set the engine's lora, so that adapters are loaded there"
        )


def opened(work: GenerateWork, held: Models) -> ServerEngine | None:
    """In the child: the engine of a work; None: the library's own."""
    at = work.engine
    if at is None:
        return None
    from activedpo.server import Address
    from activedpo.server_engine import ServerEngine

    address = Address(at.base_url, at.api_key, at.concurrency, at.timeout, at.public_only)
    adapter = None
    if at.adapter is not None:
        folder = held.folder(work.setting.policy)
        adapter = (at.adapter, _as_seen(folder, at.adapters_at))
    return ServerEngine(address, at.model, adapter, at.others)


def _as_seen(folder: str, root: str | None) -> str:
    if root is None:
        return folder
    cache = get_settings().home / "cache" / "policies"
    return f"{root.rstrip('/')}/{Path(folder).relative_to(cache).as_posix()}"


def compared(
    engine: ServerEngine | None, pairs: Sequence[Pair], scores: ad.Scores
) -> Sampled | None:
    """How the server's samples and its log-probs of them were; None where no server sampled.

    Raises:
        ModelMismatch: the log-probs are those of another model.
    """
    if engine is None:
        return None
    theirs = _column(pairs, "logp_a") + _column(pairs, "logp_b")
    ours = np.concatenate([scores.logp_a, scores.logp_b])
    counts = np.concatenate([scores.tokens_a, scores.tokens_b])
    known = [i for i, value in enumerate(theirs) if value is not None and counts[i] > 0]
    off = np.abs(np.array([theirs[i] for i in known], dtype=np.float64) - ours[known])
    tokens = int(counts[known].sum())
    if known and off.sum() / tokens > MOST_OFF:
        raise ModelMismatch(
            f"the server's log-probs are {off.sum() / tokens:.2f} nats a token off ours: the model "
            "that it serves is not the policy of this round"
        )
    return Sampled(
        samples=engine.told.samples,
        retokenised=engine.told.retokenised,
        tokens=tokens,
        off=float(off.sum()),
        furthest=float((off / counts[known]).max()) if known else 0.0,
    )


def _column(pairs: Sequence[Pair], name: str) -> list[float | None]:
    return [getattr(pair, name) for pair in pairs]


def keep(round: Round, sampled: Sampled | None) -> None:
    """Add a shard's figures to its round's, which is locked."""
    if sampled is None:
        return
    before = round.metrics
    tokens = int(before.get("engine_tokens", 0)) + sampled.tokens
    mean = float(before.get("engine_logp_off") or 0.0) * (tokens - sampled.tokens) + sampled.off
    round.metrics = {
        **before,
        "engine_samples": int(before.get("engine_samples", 0)) + sampled.samples,
        "engine_retokenised": int(before.get("engine_retokenised", 0)) + sampled.retokenised,
        "engine_tokens": tokens,
        "engine_logp_off": mean / tokens if tokens else None,
        "engine_logp_furthest": max(
            float(before.get("engine_logp_furthest", 0.0)), sampled.furthest
        ),
    }
