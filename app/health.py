"""Is it up, is it ready, what is it doing: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import redis
from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from app import migrate
from app.database import get_engine
from app.demo import status as demo
from app.errors import document
from app.metrics import REGISTRY
from app.projects.models import Project
from app.settings import get_settings
from app.system import parts

router = APIRouter(tags=["health"])


@dataclass(frozen=True)
class Check:
    """One part and whether it is fine; ``detail`` says what was seen or what is wrong."""

    name: str
    ok: bool
    detail: str


def checks() -> list[Check]:
    """Every part that has to be there before work can be taken."""
    parts: dict[str, Callable[[], Check]] = {
        "database": _database,
        "migrations": _migrations,
        "broker": _broker,
    }
    if get_settings().demo:
        parts["demo"] = _demo
    return [_safely(name, check) for name, check in parts.items()]


def _safely(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (SQLAlchemyError, redis.RedisError, RuntimeError, OSError) as error:
        # The first line only: below it, drivers repeat addresses and parameters
        why = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        return Check(name, False, f"{type(error).__name__}: {why}"[:300])


def _database() -> Check:
    with get_engine().connect() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
    return Check("database", True, f"Postgres {version}")


@lru_cache
def _newest() -> str | None:
    return migrate.head()


def _migrations() -> Check:
    current, newest = migrate.current(get_engine()), _newest()
    if current == newest:
        return Check("migrations", True, f"at {current}")
    return Check("migrations", False, f"at {current}, not {newest}: run `activedpo migrate`")


def _broker() -> Check:
    url = get_settings().redis_url
    if url is None:
        return Check("broker", False, "ACTIVEDPO_REDIS_URL is not set")
    parts.client(url).ping()
    return Check("broker", True, "Redis answers")


def _demo() -> Check:
    home = get_settings().home
    try:
        known = uuid.UUID(json.loads((home / "demo.json").read_text())["project"])
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known is not None:
        with get_engine().connect() as connection:
            if connection.scalar(select(Project.id).where(Project.id == known)):
                return Check("demo", True, "the demo project is there")
    said = demo.read(home)
    return Check("demo", False, said.message if said else "the demo is being prepared")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is up."""
    return {"status": "up"}


@router.get("/readyz")
def readyz() -> JSONResponse:
    """Database, migrations and broker are fine; else 503, naming which is not."""
    found = checks()
    bad = [check for check in found if not check.ok]
    states = {check.name: "ok" if check.ok else check.detail for check in found}
    if not bad:
        return JSONResponse({"status": "ready", "checks": states})
    detail = "; ".join(f"{check.name}: {check.detail}" for check in bad)
    return document(503, "Not ready", detail, checks=states)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics() -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
