"""The web application: rooms put together, limits and headers around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors, openapi, tracing, web
from app.edge import BodyLimit, SecurityHeaders
from app.etags import Etags
from app.metrics import Timed
from app.people import bootstrap
from app.prefix import Prefix
from app.settings import get_settings

ROOMS = (
    "privacy",  # before people, whose routes take any verb
    "people",
    "imports",
    "projects",
    "labelling",
    "rounds",
    "policies",
    "evaluations",
    "playground",
    "oracles",
    "quality",
    "audit",
    "system",
)
PARTS = (
    "app.health",
    *(f"app.{room}.api" for room in ROOMS),
    "app.people.password_api",
    "app.web",
    *(f"app.{room}.pages" for room in ROOMS),
    "app.reference",
)


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    await run_in_threadpool(bootstrap.at_start)
    yield
    await run_in_threadpool(tracing.flush)


def create_app() -> FastAPI:
    """The application. A room may have an ``api``, ``pages`` or both."""
    tracing.configure("web")
    app = FastAPI(
        title="ActiveDPO",
        version=web.app_version(),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={
            "tracing": get_settings().tracing,
            "metrics": False,  # /metrics tells them
            "logs": False,  # what went wrong may have texts in it
            "operation_spans": False,
            "auto_configure": False,
            "exclude": tracing.quiet,
        },
    )
    errors.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Etags)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Timed)
    if get_settings().root_path:
        app.add_middleware(Prefix, root=get_settings().root_path)
    for part in PARTS:
        if find_spec(part) is not None:
            app.include_router(import_module(part).router)
    web.install(app)
    return app
