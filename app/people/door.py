"""The sign-in page, which several ways lead to."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.errors import Problem
from app.settings import get_settings
from app.web import render


def door(
    request: Request, next: str, email: str = "", problem: Problem | None = None
) -> HTMLResponse:
    """The sign-in page, saying what went wrong where something did."""
    status, error = (problem.status, problem.detail) if problem else (200, None)
    settings = get_settings()
    return render(
        request,
        "people/sign_in.html",
        status,
        next=next,
        email=email,
        error=error,
        provider=settings.oidc_name if settings.oidc_issuer else None,
        passwords=settings.password_sign_in,
    )
