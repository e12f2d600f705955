"""What Postgres can keep: no NUL and no lone surrogate in any string, no NaN, however deep."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def fault(text: str) -> str | None:
    """What is wrong with a text, as the end of a sentence; None where nothing is."""
    if "\x00" in text:
        return "contains a NUL character, which cannot be stored"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is no valid Unicode"
    return None


def check(value: Any) -> Any:
    """The value as it came.

    Raises:
        ValueError: a string or number in it cannot be stored.
    """
    if isinstance(value, str):
        problem = fault(value)
        if problem:
            raise ValueError(problem)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is none (NaN or infinite), which is no valid JSON")
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key)
            check(item)
    elif isinstance(value, list):
        for item in value:
            check(item)
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


# Checked before pydantic's own string check, whose message tells nothing to who sent it
Text = Annotated[str, BeforeValidator(check)]
"""A string that can be stored."""

Words = Annotated[str, BeforeValidator(check), AfterValidator(_not_blank)]
"""A string that can be stored, with something else than white space in it."""

Jsonable = Annotated[dict[str, Any], BeforeValidator(check)]
"""A JSON object whose strings and numbers can all be stored."""
