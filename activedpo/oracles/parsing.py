"""Reading a judge's reply: A, B, tie, or nothing that can be read."""

from __future__ import annotations

import json
import re

VERDICTS = {"a": "A", "b": "B", "tie": "tie"}
_MARKED = re.compile(r"\[\[\s*(A|B|tie)\s*\]\]", re.IGNORECASE)
_IN_JSON = re.compile(r'"verdict"\s*:\s*"(A|B|tie)"', re.IGNORECASE)


def read_verdict(reply: str) -> str | None:
    """The verdict of a reply: of a JSON object, or else the last one that a text names.

    A judge that quotes "[[A]]" while it thinks and ends on "[[B]]" means B. None where there is
    none: an abstention.
    """
    whole = _of_object(reply)
    if whole is not None:
        return whole
    found = [*_MARKED.finditer(reply), *_IN_JSON.finditer(reply)]
    if not found:
        return None
    return VERDICTS[max(found, key=lambda match: match.start())[1].lower()]


def verdict_at(reply: str) -> int | None:
    """Where the verdict that `read_verdict` reads begins; None where it is not to be found."""
    found = [*_MARKED.finditer(reply), *_IN_JSON.finditer(reply)]
    return max(found, key=lambda match: match.start()).start(1) if found else None


def _of_object(reply: str) -> str | None:
    try:
        value = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("verdict")
    return VERDICTS.get(value.strip().lower()) if isinstance(value, str) else None


def chance_of_first(verdict: str | None) -> float | None:
    """p(the response shown as A is better) of one verdict; None abstains."""
    return None if verdict is None else {"A": 1.0, "B": 0.0, "tie": 0.5}[verdict]


def both_orders(
    shown: float | None, swapped: float | None, on_disagreement: str = "abstain"
) -> float | None:
    """One probability from two questions, the second with the responses exchanged.

    Args:
        shown, swapped: p(the one shown as A is better) in either order; None abstains, and an
            abstention stays one.
        on_disagreement: "abstain" or "tie", where the verdicts favour different sides or only
            one of them favours any.
    """
    if shown is None or swapped is None:
        return None
    back = 1.0 - swapped
    if (shown > 0.5) != (back > 0.5) or (shown < 0.5) != (back < 0.5):
        return 0.5 if on_disagreement == "tie" else None
    return (shown + back) / 2
