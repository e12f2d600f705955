"""What a judge found, and what is kept of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol

from activedpo.errors import ActiveDPOError
from activedpo.types import Prompt


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's finding on one pair.

    Attributes:
        p: probability that the first completion is the better one; ½ is a tie, None abstains.
        record: what is kept with the label: judge, version, prompt_hash, order, replies, reason.
        spent: calls, tokens_in, tokens_out, cost (US dollars), cached: what it took.
    """

    p: float | None
    record: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Judges pairs one at a time; any number of calls may be under way at once."""

    def __call__(
        self, prompt: Prompt, completion_a: str, completion_b: str, /
    ) -> Awaitable[Verdict]: ...


class JudgeError(ActiveDPOError):
    """The judge could not be asked; what it says holds no text that came from outside."""


class TroubleError(JudgeError):
    """It may well work later.

    Attributes:
        retry_after: seconds that the endpoint asked for, if it did.
        busy: it is well, and only asked too much at a time.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, *, busy: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after, self.busy = retry_after, busy


class RefusedPairError(JudgeError):
    """The endpoint does not take this pair: too long for it, or against its rules."""


class StoppedError(JudgeError):
    """It will not work again by itself: the key was revoked, the budget is used up."""
