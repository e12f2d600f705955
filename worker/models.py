"""Where a policy's weights are found: HOME/models, a folder, the hub, the artefact store."""

from __future__ import annotations

from pathlib import Path

from activedpo.errors import ActiveDPOError
from app.policies.base_models import find_base
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Round
from worker.work import ModelAt, Setting


def public_name(base_model: str) -> str:
    """What others may read about a base model: its hub id, or its folder's last part."""
    return Path(base_model).name if Path(base_model).is_absolute() else base_model


def at(base_model: str, policy: Policy | None) -> ModelAt:
    """The weights of ``policy``, or of the base where it is None."""
    base = find_base(base_model)
    name = public_name(base_model)
    if policy is None or policy.kind == "base":
        return ModelAt(base, name)
    if policy.removed_at is not None:
        raise ActiveDPOError(
            f"policy {policy.number} has no files any more, by the rule of retention: make another "
            "one current"
        )
    return ModelAt(base, name, policy.kind, policy.path, policy.files)


def setting_of(project: Project, round: Round, policy: Policy | None, salt: int = 0) -> Setting:
    """What a job of ``round`` needs to know of its project; ``policy`` is the one at work."""
    return setting_for(project, round.seed, policy, salt)


def setting_for(project: Project, seed: int, policy: Policy | None, salt: int = 0) -> Setting:
    """The same for work of no round, which has a seed of its own."""
    return Setting(
        policy=at(project.base_model, policy),
        base=at(project.base_model, None),
        system_prompt=project.system_prompt,
        chat=project.chat,
        beta=float(project.training.get("beta", 0.1)),
        seed=(seed * 10_007 + salt) % (1 << 31),
    )
