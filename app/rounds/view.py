"""A round as the contract shows it."""

from __future__ import annotations

from typing import Any

from app.rounds.models import Round


def round_view(round: Round) -> dict[str, Any]:
    """The contract's answer for one round, and its project and times."""
    metrics = {"win_rate": None, **round.metrics}
    if metrics["win_rate"] is None:
        metrics.setdefault("win_rate_reason", "the round has not been evaluated yet")
    return {
        "id": round.id,
        "project": round.project_id,
        "number": round.number,
        "state": round.state,
        "progress": {
            "done": round.progress_done,
            "total": round.progress_total,
            "stage": round.stage,
        },
        "labels": {"done": round.answered, "needed": round.needed},
        "policy_in": round.policy_in_id,
        "policy_out": round.policy_out_id,
        "metrics": metrics,
        "error": round.error,
        "failed_stage": round.failed_stage,
        "created_at": round.created_at,
        "updated_at": round.updated_at,
        "finished_at": round.finished_at,
    }
