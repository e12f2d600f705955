"""ETags of JSON answers: who asks again what has not changed is told so in a line."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/api/v1/"


class Etags:
    """Gives JSON answers to a GET of the API a weak ETag, and answers 304 to one that is known.

    Answers that are streamed (exports, downloads) are no JSON and pass through untouched.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(API):
            await self.app(scope, receive, send)
        else:
            known = Headers(scope=scope).get("If-None-Match", "")
            await self.app(scope, receive, _Tagged(send, known))


class _Tagged:
    """Holds the start of a JSON answer back until its whole body is there."""

    def __init__(self, send: Send, known: str) -> None:
        self._send = send
        self._known = {tag.strip().removeprefix("W/") for tag in known.split(",") if tag.strip()}
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        headers = MutableHeaders(scope=start)
        headers["ETag"] = f"W/{tag}"
        headers.setdefault("Cache-Control", "private, no-cache")
        if tag in self._known or "*" in self._known:
            start["status"] = 304
            for name in ("Content-Length", "Content-Type"):
                del headers[name]
            self._body.clear()
        await self._send(start)
        await self._send({"type": "http.response.body", "body": bytes(self._body)})


def _is_json(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("Content-Type", "")
    return bool(start["status"] == 200 and kind.partition(";")[0].strip() == "application/json")
