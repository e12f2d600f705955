"""What surrounds every request: how much it may send, and what browsers are told."""

from __future__ import annotations

import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import document
from app.settings import get_settings

JSON_LIMIT = 16 * 1024 * 1024
IMPORTS = re.compile(r"/projects/[^/]+/(prompts|pairs|import)")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class BodyLimit:
    """Refuses a body that is too long: at once where it says its length, else while it comes.

    Imports may be as long as the settings allow; everything else is small JSON or a form.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        importing = IMPORTS.search(scope["path"]) is not None
        limit = get_settings().max_upload_bytes if importing else JSON_LIMIT
        detail = f"The body is longer than {limit:,} bytes; nothing was stored."
        announced = Headers(scope=scope).get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit:
            await document(413, "Too large", detail)(scope, receive, send)
            return
        received, digest = 0, hashlib.sha256()
        # what the same call with the same Idempotency-Key is told by
        scope.setdefault("state", {})["body_digest"] = digest
        hashed = "Idempotency-Key" in Headers(scope=scope)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if hashed:
                digest.update(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)
            return message

        await self.app(scope, counted, send)


class SecurityHeaders:
    """Tells browsers to run our scripts alone, guess no types and frame nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if get_settings().secure_cookies:  # we are told that TLS is in front
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
