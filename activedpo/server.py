"""An OpenAI-compatible server of completions (vLLM, llama.cpp), asked with patience."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from activedpo.errors import ActiveDPOError, ModelNotFound
from activedpo.oracles import network
from activedpo.oracles.gate import Gate

LARGEST_REPLY = 64 << 20
"""Bytes; whatever is longer is no completion."""

LONGEST_PAUSE = 30.0
TRIES, TRIES_WHEN_BUSY = 6, 12


class ServerAway(ConnectionError):
    """The server does not answer, or says that it cannot now: worth another attempt later."""


class ServerRefuses(ActiveDPOError):
    """The server will not do what is asked, however often."""


class _FormRefused(ServerRefuses):
    """It takes no request of this form: a plainer one may do."""


@dataclass(frozen=True)
class Address:
    """Where a server is and how it may be asked.

    Args:
        base_url: ends before `/completions`; `/v1` is added where it has no path.
        api_key: sent as a bearer token.
        concurrency: requests at a time.
        timeout: seconds for one request, connecting included.
        public_only: refuse addresses that are not public.
        first_pause: seconds before the second try; doubled each time.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    concurrency: int = 16
    timeout: float = 300.0
    public_only: bool = False
    first_pause: float = 1.0

    @property
    def root(self) -> str:
        base = self.base_url.rstrip("/")
        return base if urlsplit(base).path.strip("/") else f"{base}/v1"


class Server:
    """A connection to a server, for one event loop. No error of it carries text of the server's."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._gate = Gate(address.concurrency)
        self._client = network.client(
            public_only=address.public_only,
            timeout=address.timeout,
            connections=address.concurrency + 1,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def models(self) -> list[str] | None:
        """Names of what it serves, adapters among them; None where it does not say.

        Raises:
            ServerAway, ServerRefuses.
        """
        reply = await self._patiently("GET", "/models", None)
        try:
            return [str(model["id"]) for model in reply["data"]]
        except (LookupError, TypeError):
            return None

    async def need(self, model: str) -> None:
        """Raises ModelNotFound where it says that it does not serve ``model``."""
        served = await self.models()
        if served is not None and model not in served:
            listed = ", ".join(served[:8]) or "none"
            raise ModelNotFound(f"the server knows no model {model!r}; there: {listed}")

    async def complete(self, forms: list[dict[str, Any]]) -> Any:
        """Completions, as they come.

        Args:
            forms: the same request, from the one that asks for most to the plainest.

        Raises:
            ServerAway, ServerRefuses.
        """
        for form in forms[:-1]:
            try:
                return await self._patiently("POST", "/completions", form)
            except _FormRefused:
                continue
        return await self._patiently("POST", "/completions", forms[-1])

    async def load_adapter(self, name: str, folder: str) -> None:
        """Serve a LoRA adapter under ``name`` (vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING)."""
        if name in (await self.models() or ()):
            return
        try:
            body = {"lora_name": name, "lora_path": folder}
            await self._patiently("POST", "/load_lora_adapter", body)
        except _FormRefused as error:
            if name in (await self.models() or ()):
                return  # another worker was faster
            raise ServerRefuses(
                f"the server does not load the adapter at {folder}: can it read that folder, and "
                "does it allow adapters of this rank?"
            ) from error
        except ModelNotFound as error:
            raise ServerRefuses(
                "the server loads no adapters while it runs: start vLLM with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            ) from error

    async def unload_adapter(self, name: str) -> None:
        """Let an adapter go; one that is gone already is no trouble."""
        try:
            await self._patiently("POST", "/unload_lora_adapter", {"lora_name": name})
        except (_FormRefused, ModelNotFound):
            return

    async def _patiently(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        pause = self._address.first_pause
        for tries in range(1, TRIES_WHEN_BUSY + 1):
            try:
                async with self._gate:
                    reply = await self._once(method, path, body)
                self._gate.went_well()
                return reply
            except _Busy as error:
                wait = pause if error.after is None else error.after
                if tries >= (TRIES_WHEN_BUSY if error.busy else TRIES) or wait > 600:
                    raise ServerAway(f"{error}, {tries} times over") from None
                if error.busy:
                    self._gate.slow_down(wait)
                await asyncio.sleep(wait * random.uniform(1.0, 1.3))
                pause = min(LONGEST_PAUSE, 2 * pause)
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        key = self._address.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        url = self._address.root + path
        try:
            async with asyncio.timeout(self._address.timeout):
                async with self._client.stream(
                    method, url, content=content, headers=headers
                ) as reply:
                    data = bytearray()
                    async for chunk in reply.aiter_bytes():
                        data += chunk
                        if len(data) > LARGEST_REPLY:
                            raise ServerRefuses(f"it answers more than {LARGEST_REPLY:,} bytes")
        except TimeoutError:
            raise _Busy(f"no answer of the server in {self._address.timeout:g} s") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if "not public" in str(error):
                raise ServerRefuses(
                    "the server's name leads to an address that is not public; an operator can "
                    "allow these with ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES"
                ) from None
            raise _Busy(f"the server cannot be reached ({type(error).__name__})") from None
        _check(reply)
        try:
            return json.loads(data)
        except ValueError:
            if path.endswith("lora_adapter"):
                return {}  # vLLM says in words that it has done so
            raise _Busy("the server answers what is no JSON") from None


class _Busy(Exception):
    """Not now; ``busy`` where it asks to be asked less."""

    def __init__(self, message: str, after: float | None = None, *, busy: bool = False) -> None:
        super().__init__(message)
        self.after, self.busy = after, busy


def _check(reply: httpx.Response) -> None:
    status = reply.status_code
    if reply.is_success:
        return
    if status in (401, 403):
        raise ServerRefuses(f"the server refuses the API key ({status})")
    if status == 404:
        raise ModelNotFound("the server knows no such model or address (404)")
    if status in (400, 405, 413, 415, 422):
        raise _FormRefused(f"the server refuses the request ({status})")
    if reply.is_redirect:
        raise ServerRefuses(f"the server answers with a redirect ({status}), and none is followed")
    raise _Busy(f"the server answers {status}", _retry_after(reply), busy=status in (429, 503))


def _retry_after(reply: httpx.Response) -> float | None:
    try:
        seconds = float(reply.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
