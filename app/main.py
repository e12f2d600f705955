"""The web application: rooms put together, limits and headers around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import errors, web
from app.edge import BodyLimit, SecurityHeaders
from app.metrics import Timed

ROOMS = ("people", "projects", "labelling", "rounds", "policies", "oracles")
PARTS = (
    "app.health",
    *(f"app.{room}.api" for room in ROOMS),
    "app.web",
    *(f"app.{room}.pages" for room in ROOMS),
    "app.system_pages",
)


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    bootstrap = "app.people.bootstrap"
    if find_spec(bootstrap) is not None:
        await run_in_threadpool(import_module(bootstrap).at_start)
    yield


def create_app() -> FastAPI:
    """The application. ``api`` and ``pages`` of a room are included where they are there."""
    app = FastAPI(title="ActiveDPO", version="0.1.0", lifespan=_lifespan, redoc_url=None)
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Timed)
    for part in PARTS:
        if find_spec(part) is not None:
            router = getattr(import_module(part), "router", None)
            if router is not None:
                app.include_router(router)
    web.install(app)
    return app
