"""Where a policy's weights are found: HOME/models, a folder, the hub, the artefact store."""

from __future__ import annotations

from pathlib import Path

from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Round
from app.settings import get_settings
from worker.work import ModelAt, Setting


def find_base(name: str, models_dir: Path) -> str:
    """Folder or hub name for a project's ``base_model``; HOME/models/<name> wins over the hub."""
    given = Path(name)
    if given.is_absolute() or ".." in given.parts:
        return name
    kept = models_dir / given
    return str(kept) if (kept / "config.json").is_file() else name


def public_name(base_model: str) -> str:
    """What others may read about a base model: its hub id, or its folder's last part."""
    return Path(base_model).name if Path(base_model).is_absolute() else base_model


def at(base_model: str, policy: Policy | None) -> ModelAt:
    """The weights of ``policy``, or of the base where it is None."""
    base = find_base(base_model, get_settings().models_dir)
    name = public_name(base_model)
    if policy is None or policy.kind == "base":
        return ModelAt(base, name)
    return ModelAt(base, name, policy.kind, policy.path, policy.files)


def setting_of(project: Project, round: Round, policy: Policy | None, salt: int = 0) -> Setting:
    """What a job of ``round`` needs to know of its project; ``policy`` is the one at work."""
    return Setting(
        policy=at(project.base_model, policy),
        base=at(project.base_model, None),
        system_prompt=project.system_prompt,
        chat=project.chat,
        beta=float(project.training.get("beta", 0.1)),
        seed=(round.seed * 10_007 + salt) % (1 << 31),
    )
