"""The text that matches a regular expression more often wins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import regex as limited

from activedpo.types import Prompt

if TYPE_CHECKING:
    from activedpo.oracles import Oracle

SECONDS = 1.0
"""Time for one text: a pattern such as (a+)+$ would take years, and hold up the whole process."""


def regex(pattern: str, prefer: str = "more") -> Oracle:
    """An oracle that prefers the text with "more" (or "fewer") matches; as many: it abstains.

    It abstains as well where matching one of the texts takes longer than a second.

    Raises:
        ValueError: the pattern is no regular expression, or `prefer` is neither.
    """
    if prefer not in ("more", "fewer"):
        raise ValueError(f"prefer must be 'more' or 'fewer', not {prefer!r}")
    try:
        re.compile(pattern)
        found = limited.compile(pattern)
    except (re.error, limited.error) as error:
        raise ValueError(f"pattern: {error}") from error

    def judge(_: Prompt, completion_a: str, completion_b: str, /) -> float | None:
        try:
            a, b = (
                sum(1 for _ in found.finditer(text, timeout=SECONDS))
                for text in (completion_a, completion_b)
            )
        except TimeoutError:
            return None
        if a == b:
            return None
        return float((a > b) == (prefer == "more"))

    return judge
