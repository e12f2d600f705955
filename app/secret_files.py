"""Secrets from files, as Docker and Kubernetes mount them: ``ACTIVEDPO_<NAME>_FILE``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

ADDRESSES = frozenset({"database_url", "redis_url"})
"""No secrets by their type, but a password is in them."""


def may_be_a_file(name: str, field: FieldInfo) -> bool:
    """Whether a setting may be given as the name of a file that holds it."""
    return name in ADDRESSES or SecretStr in (field.annotation, *get_args(field.annotation))


class SecretFiles(PydanticBaseSettingsSource):
    """The content of the file that ``<NAME>_FILE`` names, for each setting that holds a secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret of one setting, None where no file is named.

        Raises:
            ValueError: the file cannot be read; the message names the variable.
        """
        variable = f"{self.config.get('env_prefix', '')}{field_name}_file".upper()
        path = os.environ.get(variable)
        if not path or not may_be_a_file(field_name, field):
            return None, field_name, False
        try:
            return Path(path).read_text().rstrip("\r\n") or None, field_name, False
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ValueError(f"{variable}: the file cannot be read ({why})") from None

    def __call__(self) -> dict[str, Any]:
        """Every secret that a file holds."""
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}
