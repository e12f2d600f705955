"""Errors a client can act on, as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.language import _

log = structlog.get_logger()
BUSY = _("The database is busy or out of reach; nothing was stored. Send it again in a moment.")
MOST_ERRORS = 100  # told of one request; the first ones say enough


class Problem(Exception):
    """An error with an HTTP status; actions raise it and know nothing else of HTTP.

    Attributes:
        detail: what happened, what was kept and what to do, in a sentence or two.
        extra: further members of the problem document.
    """

    status = 500
    title: str = _("Something went wrong")

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class Unauthorized(Problem):
    """No key, or one that is not valid."""

    status, title = 401, _("Not signed in")


class Forbidden(Problem):
    """Known, but not allowed to."""

    status, title = 403, _("Not allowed")


class NotFound(Problem):
    """Not there, or not there for this person: both look the same from outside."""

    status, title = 404, _("Not found")


class Conflict(Problem):
    """The thing is in a state that does not allow this."""

    status, title = 409, _("Conflict")


class Gone(Problem):
    """It was there, and now belongs to someone else."""

    status, title = 410, _("Gone")


class TooLarge(Problem):
    """More bytes than are accepted."""

    status, title = 413, _("Too large")


class Invalid(Problem):
    """A value that cannot be taken; ``field`` names it."""

    status, title = 422, _("Invalid value")

    def __init__(self, detail: str, field: str | None = None, **extra: Any) -> None:
        if field is not None:
            extra.setdefault("errors", [{"field": field, "message": detail}])
        super().__init__(detail, **extra)


class TooMany(Problem):
    """Too many requests; ``retry_after`` is in seconds."""

    status, title = 429, _("Too many requests")


class Unavailable(Problem):
    """It cannot be done now; the same may work later."""

    status, title = 503, _("Not available")


def document(status: int, title: str, detail: str, **extra: Any) -> JSONResponse:
    """A problem document; the body is the contract's: type, title, status, detail."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    headers = {}
    if "retry_after" in extra:
        headers["Retry-After"] = str(extra["retry_after"])
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


# pydantic's own words, for pages in another language
_FAULTS: dict[str, Callable[[dict[str, str]], str]] = {
    "missing": lambda _v: _("Field required"),
    "extra_forbidden": lambda _v: _("Extra inputs are not permitted"),
    "finite_number": lambda _v: _("Input should be a finite number"),
    "greater_than": lambda v: _("Input should be greater than %(gt)s", gt=v["gt"]),
    "greater_than_equal": lambda v: _(
        "Input should be greater than or equal to %(ge)s", ge=v["ge"]
    ),
    "less_than": lambda v: _("Input should be less than %(lt)s", lt=v["lt"]),
    "less_than_equal": lambda v: _("Input should be less than or equal to %(le)s", le=v["le"]),
    "literal_error": lambda v: _("Input should be %(expected)s", expected=v["expected"]),
    "string_too_long": lambda v: _(
        "String should have at most %(most)s characters", most=v["max_length"]
    ),
}


def fault(error: ErrorDetails) -> str:
    """What is wrong with one value: an item of pydantic's list, without pydantic's prefix."""
    values = error.get("ctx", {})
    cause = values.get("error")
    if isinstance(cause, ValueError) and cause.args:
        return str(cause) if len(cause.args) > 1 else cause.args[0]
    words = _FAULTS.get(error["type"])
    if words is not None:
        return words({name: str(value) for name, value in values.items()})
    return error["msg"].removeprefix("Value error, ")


def _field(location: tuple[Any, ...]) -> str:
    names = [str(part) for part in location if part not in ("body", "query", "path", "header")]
    return ".".join(names) or str(location[-1] if location else "body")


def problem_response(error: Problem) -> JSONResponse:
    """The document of a :class:`Problem`."""
    return document(error.status, error.title, error.detail, **error.extra)


def validation_response(error: RequestValidationError) -> JSONResponse:
    """422 that names every field, without echoing the value that was sent."""
    errors = [
        {"field": _field(tuple(e["loc"])), "message": e["msg"].removeprefix("Value error, ")}
        for e in error.errors()[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors[:5])
    return document(422, Invalid.title, detail, errors=errors)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document."""

    @app.exception_handler(Problem)
    def _problem(_r: Request, error: Problem) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    def _invalid(_r: Request, error: RequestValidationError) -> JSONResponse:
        return validation_response(error)

    @app.exception_handler(OperationalError)
    def _database(_r: Request, error: OperationalError) -> JSONResponse:
        code = getattr(error.orig, "sqlstate", None)
        log.warning("database_refused", error=type(error.orig).__name__, sqlstate=code)
        if error.connection_invalidated:  # perhaps in the middle of a commit
            return document(500, Problem.title, "The server lost its database: ask what stands.")
        return document(503, Unavailable.title, BUSY, retry_after=1)

    @app.exception_handler(PoolTimeout)
    def _crowded(_r: Request, _e: PoolTimeout) -> JSONResponse:
        log.warning("database_refused", error="PoolTimeout")
        return document(503, Unavailable.title, BUSY, retry_after=1)

    @app.exception_handler(HTTPException)
    def _http(_r: Request, error: HTTPException) -> JSONResponse:
        return document(error.status_code, str(error.detail), str(error.detail))

    @app.exception_handler(Exception)
    def _unexpected(_r: Request, _e: Exception) -> JSONResponse:
        return document(500, Problem.title, "The server failed; nothing was stored.")
