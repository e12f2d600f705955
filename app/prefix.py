"""The site below a path of its address, as a proxy serves it: ``ACTIVEDPO_ROOT_PATH=/labels``.

Everything inside knows addresses from ``/`` on. Here, at the edge, the prefix comes off what a
request asks for (or is off already: some proxies take it off) and in front of what leaves:
redirects, paths of cookies, and, by :func:`outward`, the addresses in pages.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import get_settings

ADDRESSES = (
    "action",
    "data-progress",
    "data-rest",
    "formaction",
    "href",
    "hx-get",
    "hx-post",
    "sse-connect",
    "src",
)
"""Attributes of our templates that hold an address; texts of people, escaped, hold no quote."""

_ADDRESS = re.compile(rf'(?<=[\s"])({"|".join(ADDRESSES)})="/(?!/)')
_COOKIE_PATH = re.compile(r"(?i)(; *path=)/")


def outward(page: str) -> str:
    """A page, or a part of one, with the prefix in front of its addresses."""
    root = get_settings().root_path
    return _ADDRESS.sub(rf'\1="{root}/', page) if root else page


class Prefix:
    """Takes the prefix off requests, and puts it in front of redirects and paths of cookies."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def outward_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._prefix(MutableHeaders(scope=message), inward["path"])
            await send(message)

        inward = self._inward(scope)
        await self.app(inward, receive, outward_headers)

    def _inward(self, scope: Scope) -> Scope:
        root, path = self._root, scope["path"]
        if path != root and not path.startswith(f"{root}/"):
            return scope
        raw = scope.get("raw_path") or b""
        return {
            **scope,
            "path": path.removeprefix(root) or "/",
            "raw_path": raw.removeprefix(root.encode()) or b"/",
        }

    def _prefix(self, headers: MutableHeaders, asked: str) -> None:
        where = urlsplit(headers.get("Location", ""))
        # With a host it is another site's, unless it corrects the slash at the end of this one's
        ours = not where.netloc or where.path.rstrip("/") == asked.rstrip("/")
        if ours and where.path.startswith("/"):
            headers["Location"] = where._replace(path=self._root + where.path).geturl()
        cookies = headers.getlist("Set-Cookie")
        if cookies:
            del headers["Set-Cookie"]
        for cookie in cookies:
            headers.append("Set-Cookie", _COOKIE_PATH.sub(rf"\g<1>{self._root}/", cookie, count=1))
