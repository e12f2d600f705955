"""One request to the server, and how often and how long it is tried (for `activedpo.client`)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from activedpo.errors import ActiveDPOError

TRIES = 6
LONGEST_PAUSE = 30.0
NOT_DONE = frozenset({429, 503})
PASSING = NOT_DONE | {500, 502, 504}  # it may have been done: a commit's answer was lost, or ours
IDEMPOTENCY = "Idempotency-Key"


class ApiError(ActiveDPOError):
    """The server refused a call; ``problem`` is its RFC 9457 document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status, self.problem = status, dict(problem)


class Unreachable(ActiveDPOError):
    """The server did not answer, after retries."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``again``: sending it twice does no harm."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    again: bool = True
    wait: float = 0.0
    raw: bool = False
    key: str | None = None


class LostReplyError(Exception):
    """A request that must not be sent twice may have arrived."""


def read(response: httpx.Response, raw: bool) -> Any:
    """What an answer holds: its bytes where they are wanted raw, else its JSON.

    Raises:
        ApiError: the server refused.
    """
    if response.is_success and raw:
        return response.content
    if response.is_success:
        return response.json() if response.content else None
    try:
        problem = response.json()
    except ValueError:
        problem = {"title": response.reason_phrase, "detail": "no problem document"}
    raise ApiError(response.status_code, problem if isinstance(problem, dict) else {})


class Patience:
    """How often and how long a request is tried."""

    def __init__(self, call: Call, tries: int) -> None:
        self._call, self._left, self._pause = call, tries, 0.25

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to wait before another try; None where the answer stands."""
        under_way = self._call.key is not None and response.status_code == 409
        if under_way and "Retry-After" not in response.headers:
            return None
        passing = PASSING if self._call.again else NOT_DONE
        if not (under_way or response.status_code in passing) or self._left <= 1:
            return None
        try:
            asked = float(response.headers.get("Retry-After", ""))
        except ValueError:
            asked = 0.0
        return max(self._next(), min(asked, 300.0))

    def after_error(self, error: httpx.TransportError) -> float:
        """Seconds to wait before another try.

        Raises:
            LostReplyError: the request may have arrived and must not be sent twice.
            Unreachable: enough was tried.
        """
        arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        if arrived and not self._call.again:
            raise LostReplyError from error
        if self._left <= 1:
            raise Unreachable(f"the server does not answer ({type(error).__name__})") from error
        return self._next()

    def _next(self) -> float:
        self._left -= 1
        pause = self._pause * random.uniform(0.8, 1.2)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return pause


def http_settings(url: str, key: str, timeout: float) -> dict[str, Any]:
    """Of an httpx client for the site at ``url``."""
    return {
        "base_url": url.rstrip("/") + "/api/v1",
        "headers": {"Authorization": f"Bearer {key}", "Accept": "application/json"},
        "timeout": timeout,
    }


def arguments(call: Call, timeout: float) -> dict[str, Any]:
    """Of ``httpx.Client.request`` for the call."""
    extra = {"json": call.json} if call.json is not None else {}
    params = {"params": dict(call.params)} if call.params else {}
    if call.key is not None:
        extra["headers"] = {IDEMPOTENCY: call.key}
    return {**extra, **params, "timeout": timeout + call.wait}
