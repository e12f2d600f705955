"""The text that matches a regular expression more often wins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from activedpo.types import Prompt

if TYPE_CHECKING:
    from activedpo.oracles import Oracle


def regex(pattern: str, prefer: str = "more") -> Oracle:
    """An oracle that prefers the text with "more" (or "fewer") matches; as many: it abstains.

    Raises:
        ValueError: the pattern is no regular expression, or `prefer` is neither.
    """
    if prefer not in ("more", "fewer"):
        raise ValueError(f"prefer must be 'more' or 'fewer', not {prefer!r}")
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern: {error}") from error

    def judge(_: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        a, b = (sum(1 for _ in found.finditer(text)) for text in (completion_a, completion_b))
        if a == b:
            return None
        return float((a > b) == (prefer == "more"))

    return judge
