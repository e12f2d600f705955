"""Versions and sizes of what is not ours: Redis and the artefact store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from app.jobs import QUEUES
from app.settings import get_settings

PATIENCE_SECONDS = 2


@lru_cache
def client(url: str) -> redis.Redis:
    """A client of the broker that gives up soon."""
    return redis.Redis.from_url(
        url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
    )


def broker() -> dict[str, Any] | None:
    """Version, memory and messages by queue; None where the broker does not answer."""
    url = get_settings().redis_url
    if url is None:
        return None
    try:
        told: Mapping[str, Any] = client(url).info()
        depth = {name: int(client(url).llen(name)) for name in QUEUES}
    except (redis.RedisError, OSError):
        return None
    return {
        "version": str(told.get("redis_version", "")),
        "memory_bytes": int(told.get("used_memory", 0)),
        "messages": depth,
    }


def store_url() -> str:
    """Where policies are kept, without a password that the address may hold."""
    url = get_settings().artifacts_url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url


def store_free_bytes() -> int | None:
    """Room left where the store is a folder of this machine; None elsewhere."""
    parts = urlsplit(get_settings().artifacts_url)
    if parts.scheme not in ("", "file", "local"):
        return None
    folder = Path(unquote(parts.path))
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    try:
        return shutil.disk_usage(there).free if there is not None else None
    except OSError:
        return None
