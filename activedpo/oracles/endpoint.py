"""One question to an OpenAI-compatible Chat Completions endpoint, in any weather."""

from __future__ import annotations

import asyncio
import json
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from activedpo.oracles import network
from activedpo.oracles.templates import SCHEMA
from activedpo.oracles.verdict import RefusedPairError, StoppedError, TroubleError

LARGEST_REPLY = 1 << 20
"""Bytes; whatever is longer is no verdict."""

LONGEST_KEPT = 4_000
"""Characters of a reply that are kept with a label."""

_BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)

LANE = 4
"""Requests at a time for which there is one pool of connections."""


@dataclass
class _Lane:
    """A pool of connections and how many requests are on it."""

    pool: httpcore.AsyncConnectionPool
    busy: int = 0


@dataclass(frozen=True)
class Reply:
    """What the model said, and the tokens it took (estimated where the endpoint does not say).

    ``logprobs``: of the choice, as they came; only `activedpo.oracles.logprobs` looks into them.
    """

    text: str
    tokens_in: int
    tokens_out: int
    logprobs: Any = None


class BadRequestError(RefusedPairError):
    """The endpoint does not take the request as it is: its form, or this pair."""


class Endpoint:
    """Asks one model at one address. No error of it carries text from the other side."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        *,
        timeout: float,
        connections: int,
        public_only: bool,
    ) -> None:
        self._base, self._path = httpx.URL(base_url.rstrip("/")), "/chat/completions"
        self._model, self._timeout, self._api_key = model, timeout, api_key
        self._url, self._headers = self._address()
        # A pool looks at all its connections for every request: many small ones cost much less
        self._lanes = [
            _Lane(network.pool(public_only=public_only, connections=connections))
            for _ in range(max(1, connections // LANE))
        ]

    def _address(self) -> tuple[httpcore.URL, list[tuple[bytes, bytes]]]:
        """Where to and under which headers, worked out once and not for every question."""
        url = httpx.URL(f"{str(self._base).rstrip('/')}{self._path}")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        # Only read by httpx: its way with names outside ASCII, and with what stands before an @
        auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else httpx.Auth()
        request = httpx.Request("POST", url, headers=headers, json={})
        request = next(auth.auth_flow(request))
        raw = [(k, v) for k, v in request.headers.raw if k.lower() != b"content-length"]
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        return target, raw

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.pool.aclose()

    async def ask(
        self,
        messages: list[dict[str, str]],
        *,
        structured: bool,
        options: dict[str, Any],
    ) -> Reply:
        """Put the question.

        Raises:
            TroubleError: it may work later. BadRequestError: not in this form, or not this pair.
            StoppedError: it will not work again.
        """
        body: dict[str, Any] = {"model": self._model, "messages": messages, **options}
        if structured:
            body["response_format"] = {"type": "json_schema", "json_schema": SCHEMA}
        try:
            async with asyncio.timeout(self._timeout):  # of the whole, connecting included
                status, headers, data = await self._post(body)
        except TimeoutError:
            raise TroubleError(f"no answer within {self._timeout:g} s") from None
        except _BROKEN as error:
            raise TroubleError(_weather(error)) from None
        if status == 404 and self._path == "/chat/completions" and not _has_path(self._base):
            self._path = "/v1/chat/completions"
            self._url, self._headers = self._address()
            return await self.ask(messages, structured=structured, options=options)
        _check(status, headers, data)
        return _reply(data, messages)

    async def _post(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        lane = min(self._lanes, key=lambda lane: lane.busy)
        lane.busy += 1
        try:
            return await self._post_on(lane.pool, json.dumps(body).encode())
        finally:
            lane.busy -= 1

    async def _post_on(
        self, pool: httpcore.AsyncConnectionPool, body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        length = (b"Content-Length", b"%d" % len(body))
        async with pool.stream(
            "POST", self._url, headers=[*self._headers, length], content=body
        ) as response:
            headers = {
                k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers
            }
            data = bytearray()
            async for chunk in response.aiter_stream():
                data += chunk
                if len(data) > LARGEST_REPLY:
                    raise TroubleError(f"answered with more than {LARGEST_REPLY:,} bytes")
            return response.status, headers, _plain(bytes(data), headers)


def _plain(data: bytes, headers: Mapping[str, str]) -> bytes:
    """The reply of an endpoint that compresses although it was asked not to."""
    if headers.get("content-encoding", "identity").lower() not in ("gzip", "deflate"):
        return data
    try:
        reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
        plain = reader.decompress(data, LARGEST_REPLY)
    except zlib.error:
        raise TroubleError("what it answered cannot be unpacked") from None
    if reader.unconsumed_tail:
        raise TroubleError(f"answered with more than {LARGEST_REPLY:,} bytes")
    return plain


def _has_path(url: httpx.URL) -> bool:
    return bool(url.path.strip("/"))


def _weather(error: Exception) -> str:
    if "not public" in str(error):
        return "its name leads to an address that is not public"
    if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error).upper():
        return "its TLS certificate is not valid"
    if isinstance(error, httpcore.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpcore.ConnectError):
        return "it cannot be reached"
    return f"the connection broke ({type(error).__name__})"


def _check(status: int, headers: Mapping[str, str], data: bytes) -> None:
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise StoppedError(f"it refused the API key ({status})")
    if status == 402 or (status == 429 and b"insufficient_quota" in data):
        raise StoppedError(f"the account has no credit left ({status})")
    if status == 404:
        raise StoppedError("it knows no such address or model (404)")
    if status in (400, 413, 415, 422):
        raise BadRequestError(f"it refused the request ({status})")
    if 300 <= status < 400:
        raise TroubleError(f"it answered with a redirect ({status}), and none is followed")
    raise TroubleError(f"it answered {status}", _retry_after(headers), busy=status == 429)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None


def _reply(data: bytes, messages: list[dict[str, str]]) -> Reply:
    try:
        body = json.loads(data)
        choice = body["choices"][0]
        text, logprobs = choice["message"].get("content"), choice.get("logprobs")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise TroubleError("what it answered is no chat completion") from None
    if isinstance(text, list):  # parts, as some endpoints send them
        text = "".join(str(p.get("text", "")) for p in text if isinstance(p, dict))
    text = text if isinstance(text, str) else ""  # a refusal has no content
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    asked = sum(len(turn["content"]) for turn in messages)
    return Reply(
        storable(text),
        _count(usage.get("prompt_tokens"), asked // 4),
        _count(usage.get("completion_tokens"), len(text) // 4 + 1),
        logprobs,
    )


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else otherwise


def storable(text: str) -> str:
    """A text that a database and a browser can take: no NUL, no lone surrogate."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
