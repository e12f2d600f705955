"""What all pages share: templates, static files, who is asking, forms, HTML errors."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app import formats

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent.parent / "templates"


@lru_cache
def _version() -> str:
    try:
        return installed_version("activedpo")
    except PackageNotFoundError:
        return "from source"


@lru_cache
def static_url(name: str) -> str:
    """Address of a static file, with the hash of its content so that a cache never lies."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


class StaticPages(StaticFiles):
    """Static files; always asked for anew, since modules import each other without a hash."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with caching by ETag only."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


@lru_cache
def environment() -> Environment:
    """The templates, with autoescape on and a name that is not there an error."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(formats.FILTERS)
    env.globals.update(static=static_url, version=_version())
    return env
