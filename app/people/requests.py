"""What a request tells of where it comes from and what address it was sent to."""

from __future__ import annotations

from fastapi import Request

from app.settings import get_settings


def place_of(request: Request) -> str:
    """The address a request comes from, for limits."""
    return request.client.host if request.client else "unknown"


def site_of(request: Request) -> str:
    """The address of this site as people know it, without a slash at its end."""
    settings = get_settings()
    own = str(request.base_url).rstrip("/") + settings.root_path
    return (settings.public_url or own).rstrip("/")
