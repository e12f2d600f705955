"""What can be told of a base model without loading it: where it is, whether it is a chat one."""

from __future__ import annotations

import json
from pathlib import Path

from app.settings import get_settings


def find_base(name: str, models_dir: Path | None = None) -> str:
    """Folder or hub name of a project's ``base_model``; HOME/models/<name> wins over the hub."""
    given = Path(name)
    if given.is_absolute() or ".." in given.parts:
        return name
    kept = (models_dir or get_settings().models_dir) / given
    return str(kept) if (kept / "config.json").is_file() else name


def has_chat_template(name: str) -> bool | None:
    """Whether the model's tokenizer has a chat template; None where its files are not here."""
    folder = _folder(find_base(name))
    if folder is None:
        return None
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text())
    except (OSError, ValueError):
        return None
    return isinstance(config, dict) and bool(config.get("chat_template"))


def _folder(found: str) -> Path | None:
    if Path(found).is_dir():
        return Path(found)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(found, "tokenizer_config.json")
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None
