"""Writes docs/settings.md from the settings class; a test says when it is out of date.

python deploy/settings_page.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.secret_files import may_be_a_file
from app.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

Made from `app/settings.py` by `make settings-page`.

Read once at start from the environment or from `.env` in the working folder. An empty value counts
as unset. Those marked *file* may come from a file instead, as Docker, systemd and Kubernetes mount
them: `ACTIVEDPO_SECRET_KEY_FILE=/run/secrets/key`; the variable itself counts before it.

| name | kind | default | what |
| --- | --- | --- | --- |
"""
WORDS = {"str": "text", "SecretStr": "text", "int": "number", "float": "number", "bool": "0 or 1",
         "Path": "folder", "dict": "JSON"}  # fmt: skip


def kind(annotation: Any) -> str:
    """A type in a word or two."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if get_origin(annotation) is dict:
        return WORDS["dict"]
    if inner:
        return kind(inner[0])
    return WORDS[annotation.__name__]


def default(field: FieldInfo) -> str:
    """What counts where nothing is said."""
    value = field.default
    if value is PydanticUndefined or value is None or value == "":
        return "unset"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`"


def names(name: str, field: FieldInfo) -> str:
    """What it is called in the environment."""
    alias = field.validation_alias
    given = [str(choice) for choice in getattr(alias, "choices", [])]
    return " or ".join(f"`{one}`" for one in given or [f"ACTIVEDPO_{name.upper()}"])


def page() -> str:
    """The whole page."""
    rows = []
    for name, field in Settings.model_fields.items():
        of = kind(field.annotation) + (", *file*" if may_be_a_file(name, field) else "")
        text = (field.description or "").replace("|", "\\|")
        rows.append(f"| {names(name, field)} | {of} | {default(field)} | {text} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
