"""The sign-in page, which several ways lead to."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from app.errors import Problem
from app.language import COOKIE
from app.settings import get_settings
from app.web import render

A_YEAR = 365 * 24 * 3600


def speak(response: Response, language: str | None) -> None:
    """Let the browser keep a language, for where nobody is signed in; None: what it asks for."""
    if language is None:
        response.delete_cookie(COOKIE)
        return
    secure = get_settings().secure_cookies
    response.set_cookie(COOKIE, language, A_YEAR, httponly=True, samesite="lax", secure=secure)


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
