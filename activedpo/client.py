"""The HTTP API from Python, for oracles and scripts: :class:`Client` and :class:`AsyncClient`.

Retries double nothing: an answer is told by its claim, so the same answer sent again is the same
preference; what would be done twice, such as claiming, goes with an ``Idempotency-Key``, and the
server gives its first answer again.

    with Client("http://127.0.0.1:8000", key) as client:
        for claim in client.claims(project, count=10):
            client.answer(Answer(claim.id, "left"))
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import httpx

from activedpo.calls import (
    TRIES,
    ApiError,
    Call,
    LostReplyError,
    Patience,
    Unreachable,
    arguments,
    http_settings,
    read,
)
from activedpo.types import Prompt

__all__ = ["Answer", "ApiError", "AsyncClient", "Claim", "Client", "Outcome", "Unreachable"]

T = TypeVar("T")
MOST_CLAIMS, MOST_ANSWERS = 100, 500
TAKES_A_KEY = re.compile(
    r"/(projects|people|keys|keys/[^/?]+/rotate|projects/[^/?]+/(prompts|pairs|rounds|claims|webhooks))"
)
"""The POSTs of which a repetition is told by its key (answers are told by their claims)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A pair to answer, as this annotator sees it."""

    id: str
    prompt: Prompt
    left: str
    right: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a claim.

    Attributes:
        choice: "left", "right", "tie", "both_bad" or "skip".
        p_left: probability that the left one is better; on the side of ``choice``.
        judge: {"name", "version", "prompt_hash", ...}, kept with the label.
    """

    claim: str
    choice: str
    strength: int | None = None
    rationale: str | None = None
    p_left: float | None = None
    judge: Mapping[str, Any] | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer: 201 stored, 200 said before, else why not."""

    claim: str | None
    status: int
    preference: str | None
    detail: str | None

    @property
    def stored(self) -> bool:
        """Whether the server has the label."""
        return self.status in (200, 201)


Steps = Generator[Call, Any, T]
"""A verb: yields requests, receives the JSON of their answers, returns its outcome."""


class _Verbs:
    """What a client can do, told as steps; the clients below carry them out."""

    def _claims(self, project: str, count: int, wait: float) -> Steps[list[Claim]]:
        body = {"count": min(count, MOST_CLAIMS)} | ({"wait": wait} if wait else {})
        path = f"/projects/{project}/claims"
        found = yield Call("POST", path, body, wait=wait, key=_new_key())
        return _as_claims(found["items"])

    def _held(self, project: str) -> Steps[list[Claim]]:
        found = yield Call("GET", f"/projects/{project}/claims")
        return _as_claims(found["items"])

    def _answer(self, answers: Sequence[Answer]) -> Steps[list[Outcome]]:
        outcomes: list[Outcome] = []
        for start in range(0, len(answers), MOST_ANSWERS):
            part = [_as_item(answer) for answer in answers[start : start + MOST_ANSWERS]]
            found = yield Call("POST", "/claims/preferences", {"items": part})
            outcomes += [_outcome(one) for one in found["items"]]
        return outcomes

    def _release(self, claims: Sequence[str]) -> Steps[None]:
        for claim in claims:
            try:
                yield Call("POST", f"/claims/{claim}/release")
            except ApiError as error:
                if error.status not in (404, 409):
                    raise

    def _get(self, path: str, params: Mapping[str, Any] | None) -> Steps[Any]:
        return (yield Call("GET", path, params=params))

    def _download(self, path: str, params: Mapping[str, Any] | None) -> Steps[bytes]:
        return (yield Call("GET", path, params=params, raw=True))  # type: ignore[no-any-return]

    def _send(self, method: str, path: str, json: Any) -> Steps[Any]:
        if method == "POST" and TAKES_A_KEY.fullmatch(path.partition("?")[0]):
            return (yield Call(method, path, json, key=_new_key()))
        return (yield Call(method, path, json, again=method in ("PUT", "DELETE", "PATCH")))


def _new_key() -> str:
    return uuid.uuid4().hex


def _as_claims(items: Sequence[Mapping[str, Any]]) -> list[Claim]:
    return [Claim(**{key: one[key] for key in Claim.__slots__}) for one in items]


def _as_item(answer: Answer) -> dict[str, Any]:
    return {key: value for key, value in asdict(answer).items() if value is not None}


def _outcome(one: Mapping[str, Any]) -> Outcome:
    return Outcome(one.get("claim"), int(one["status"]), one.get("id"), one.get("detail"))


class Client(_Verbs):
    """A blocking client; use it as a context, from any number of threads.

    Args:
        url: of the site, without /api/v1.
        key: an API key; scope oracle or annotator is enough to label.
        timeout: seconds for one answer, a long poll's wait left out.
        tries: of each request.
    """

    def __init__(self, url: str, key: str, timeout: float = 60.0, tries: int = TRIES) -> None:
        self._timeout, self._tries = timeout, tries
        self._http = httpx.Client(**http_settings(url, key, timeout))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def claims(self, project: str, count: int = 1, wait: float = 0.0) -> list[Claim]:
        """Up to ``count`` further pairs; waits up to ``wait`` seconds where none is free."""
        return self._do(self._claims(project, count, wait))

    def held(self, project: str) -> list[Claim]:
        """What is held already, as after a crash."""
        return self._do(self._held(project))

    def answer(self, *answers: Answer) -> list[Outcome]:
        """Send any number of answers; each has an outcome of its own, in their order."""
        return self._do(self._answer(answers))

    def release(self, *claims: str) -> None:
        """Give claims back, by id."""
        self._do(self._release(claims))

    def get(self, path: str, **params: Any) -> Any:
        """GET anything below /api/v1; its JSON."""
        return self._do(self._get(path, params))

    def send(self, method: str, path: str, json: Any = None) -> Any:
        """POST, PUT, PATCH or DELETE anything below /api/v1; its JSON."""
        return self._do(self._send(method, path, json))

    def download(self, path: str, **params: Any) -> bytes:
        """GET a file below /api/v1, such as an export or a policy."""
        return self._do(self._download(path, params))

    def items(self, path: str, **params: Any) -> Iterator[Any]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **params, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def _do(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                try:
                    answer = self._carry_out(call)
                except (ApiError, LostReplyError) as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except LostReplyError as error:
            raise Unreachable("the reply was lost: look whether it was done") from error

    def _carry_out(self, call: Call) -> Any:
        patience = Patience(call, self._tries)
        while True:
            try:
                response = self._http.request(
                    call.method, call.path, **arguments(call, self._timeout)
                )
            except httpx.TransportError as error:
                time.sleep(patience.after_error(error))
                continue
            pause = patience.after_answer(response)
            if pause is None:
                return read(response, call.raw)
            time.sleep(pause)


class AsyncClient(_Verbs):
    """The same, asynchronous. ``transport``: another way than the network, as to an ASGI app."""

    def __init__(
        self,
        url: str,
        key: str,
        timeout: float = 60.0,
        tries: int = TRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout, self._tries = timeout, tries
        self._http = httpx.AsyncClient(**http_settings(url, key, timeout), transport=transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def claims(self, project: str, count: int = 1, wait: float = 0.0) -> list[Claim]:
        """As :meth:`Client.claims`."""
        return await self._do(self._claims(project, count, wait))

    async def held(self, project: str) -> list[Claim]:
        """As :meth:`Client.held`."""
        return await self._do(self._held(project))

    async def answer(self, *answers: Answer) -> list[Outcome]:
        """As :meth:`Client.answer`."""
        return await self._do(self._answer(answers))

    async def release(self, *claims: str) -> None:
        """As :meth:`Client.release`."""
        await self._do(self._release(claims))

    async def get(self, path: str, **params: Any) -> Any:
        """As :meth:`Client.get`."""
        return await self._do(self._get(path, params))

    async def download(self, path: str, **params: Any) -> bytes:
        """As :meth:`Client.download`."""
        return await self._do(self._download(path, params))

    async def send(self, method: str, path: str, json: Any = None) -> Any:
        """As :meth:`Client.send`."""
        return await self._do(self._send(method, path, json))

    async def _do(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                try:
                    answer = await self._carry_out(call)
                except (ApiError, LostReplyError) as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except LostReplyError as error:
            raise Unreachable("the reply was lost: look whether it was done") from error

    async def _carry_out(self, call: Call) -> Any:
        patience = Patience(call, self._tries)
        while True:
            try:
                response = await self._http.request(
                    call.method, call.path, **arguments(call, self._timeout)
                )
            except httpx.TransportError as error:
                await asyncio.sleep(patience.after_error(error))
                continue
            pause = patience.after_answer(response)
            if pause is None:
                return read(response, call.raw)
            await asyncio.sleep(pause)
