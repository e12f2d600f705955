"""How sure a language model was of its verdict, out of the log-probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from activedpo.odds import log_odds, sigmoid
from activedpo.oracles import parsing

ASKED = {"logprobs": True, "top_logprobs": 5}
"""Of Chat Completions; five alternatives hold A and B, and every server allows as many."""


def chance_of_first(logprobs: Any, verdict: str | None) -> float | None:
    """p(A) / (p(A) + p(B)) at the token that says the verdict; ½ for a tie.

    Args:
        logprobs: ``choices[0].logprobs`` of a chat completion, as it came.
        verdict: A, B or tie, as it was read.

    Returns:
        A probability strictly between 0 and 1, or None where it cannot be known: no verdict, no
        log-probabilities, or none that spells the verdict.
    """
    if verdict is None or verdict == "tie":
        return None if verdict is None or not _tokens(logprobs) else 0.5
    tokens = _tokens(logprobs)
    at = parsing.verdict_at("".join(token["token"] for token in tokens))
    if at is None:
        return None
    for token in tokens:
        if at < len(token["token"]):
            return _share(token, token["token"][:at], token["token"][at], verdict)
        at -= len(token["token"])
    return None


def both_orders(shown: float, swapped: float) -> float:
    """One p from two orders, averaged in log-odds.

    A lean to a place adds the same to the log-odds of whatever stands there, so it cancels
    here; in the mean of probabilities it stays wherever the judge is sure.

    Args:
        shown, swapped: p(the one shown as A is better), the texts exchanged in between.
    """
    return sigmoid((log_odds(shown) - log_odds(swapped)) / 2)


def _tokens(logprobs: Any) -> list[dict[str, Any]]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not all(map(_is_token, content)):
        return []
    return content


def _is_token(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("token"), str)
        and isinstance(value.get("logprob"), int | float)
    )


def _share(token: dict[str, Any], before: str, letter: str, verdict: str) -> float | None:
    top = token.get("top_logprobs")
    found: Sequence[Any] = [token, *(top if isinstance(top, list) else [])]
    chances = {t["token"]: math.exp(min(0.0, t["logprob"])) for t in found if _is_token(t)}
    sides = {"A": "a", "B": "b"} if letter.islower() else {"A": "A", "B": "B"}
    known = {side: _mass(chances, before + said) for side, said in sides.items()}
    if known[verdict] is None:
        return None
    # One that is not among the likeliest has at most the least of these, and what they leave
    rest = max(0.0, min(1.0 - sum(chances.values()), min(chances.values())))
    a, b = (rest if known[side] is None else known[side] for side in "AB")
    if not (a or 0.0) + (b or 0.0):
        return None
    return sigmoid(log_odds((a or 0.0) / ((a or 0.0) + (b or 0.0))))


def _mass(chances: dict[str, float], spelled: str) -> float | None:
    """Of every token that spells it, with no letter behind it; None where there is none."""
    found = [
        p
        for token, p in chances.items()
        if token.startswith(spelled) and not token[len(spelled) : len(spelled) + 1].isalpha()
    ]
    return sum(found) if found else None
