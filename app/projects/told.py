"""What a row of a file tells: a pair as our own shape has it, and its label where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Label:
    """What a file says of a pair: ``a``, ``b``, ``tie`` or ``both_bad``; p(a is better) if told."""

    said: str
    p_a: float | None = None


@dataclass(frozen=True)
class Told:
    """A row as our own shape has it, and its label where it carries one."""

    fields: Fields
    label: Label | None = None
