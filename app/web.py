"""What all pages share: templates, static files, who is asking, forms, HTML errors."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app import formats
from app.database import Db
from app.errors import BUSY, Forbidden, Problem, Unavailable, fault
from app.language import _, direction, for_scripts, in_templates, languages, speaking, wanted
from app.people.access import (
    BEFORE_SET_UP,
    COOKIE,
    Actor,
    actor_of_cookie,
    check_csrf,
    second_step_missing,
)
from app.prefix import outward

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent.parent / "templates"
LONGEST_FIELD = 16 * 1024 * 1024

router = APIRouter(include_in_schema=False)

# What a page says after a form was taken and the browser was sent on: ?done=<key>
DONE = {
    "shortcuts": _("Your keys are stored."),
    "settings": _("The settings are stored. They count from the next round on."),
    "member-added": _("Added to the project."),
    "member-removed": _("Removed from the project. What they labelled stays."),
    "group-changed": _("The group is changed."),
    "decided": _("Decided. This answer counts."),
    "joined": _("Welcome. You are in."),
    "invitation-revoked": _("Revoked. Who came by it before stays."),
    "handed-over": _("Handed over. The project has a new owner."),
    "person-added": _("Added. They can sign in now."),
    "language": _("This is the language of your pages now."),
    "person-changed": _("Changed."),
    "password": _("Your password is changed, and your other sessions have ended."),
    "second-factor-off": _("The second step is off. Your password alone opens the door."),
    "second-factor-reset": _("Their second step is out, and their sessions have ended."),
    "person-deleted": _("Deleted. What stays of them has no name."),
    "pair-cleared": _("The pair is shown again."),
    "key-revoked": _("The key is revoked and works no more."),
    "set-aside": _("Set aside: exports and further trainings leave these labels out."),
    "taken-back": _("These labels count again, from the next training on."),
    "gold": _("This pair is gold now: a copy of it is mixed in."),
    "gold-retired": _("Retired: nobody is shown it any more, and its answers count for nobody."),
    "practice": _("The practice pairs are changed."),
    "practice-reset": _("Their results are forgotten: they practise anew."),
    "pinned": _("The files of this policy stay."),
    "unpinned": _("The rule of retention decides over this policy again."),
    "current": _("The next round begins with this policy."),
    "oracle-attached": _("The oracle is attached. It labels what is open from now on."),
    "oracle-detached": _("The oracle is detached. Its labels stay."),
    "evaluation-cancelled": _("The evaluation is cancelled. What was answered is kept."),
    "outputs": _("The outputs are imported. Compare them below."),
    "outputs-removed": _("The outputs are deleted."),
    "archived": _("The project is archived: nothing new begins in it. Nothing is lost."),
    "unarchived": _("The project is out of the archive."),
    "project-deleted": _("The project is deleted. A worker erases its data and files now."),
    "cancelled": _("The round is cancelled. Its labels are kept."),
}


class SignInFirst(Exception):
    """A page was asked for without a session; ``back`` is where to go after signing in."""

    def __init__(self, back: str) -> None:
        super().__init__(back)
        self.back = back


class SetUpFirst(Exception):
    """A page was asked for by who has to set up a second step before anything else."""


@dataclass(frozen=True)
class Visitor:
    """Who is signed in, as templates show it: plain values, so that an error page can be drawn
    when the session that loaded them is gone."""

    id: uuid.UUID
    name: str
    email: str
    role: str
    csrf_token: str
    language: str | None


@lru_cache
def app_version() -> str:
    """The version that is installed."""
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
        extensions=["jinja2.ext.i18n"],
    )
    env.policies["ext.i18n.trimmed"] = True  # line breaks of a template are no part of a text
    env.install_gettext_callables(**in_templates(), newstyle=True)  # type: ignore[attr-defined]
    env.filters.update(formats.FILTERS)
    env.globals.update(static=static_url, version=app_version())
    return env


def html(request: Request, template: str, **context: Any) -> str:
    """A template with what every page needs: person, CSRF field, what was just done."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    token = visitor.csrf_token if visitor else ""
    language = wanted(request)
    shared = {
        "language": language,
        "direction": direction(language),
        "all_languages": languages(),
        "script_words": json.dumps(for_scripts(language), ensure_ascii=False),
        "person": visitor,
        "csrf_token": token,
        "csrf": lambda: formats.hidden_field("csrf_token", token),
        "section": "projects",
        "done": DONE.get(request.query_params.get("done", "")),
    }
    with speaking(language):
        return outward(environment().get_template(template).render({**shared, **context}))


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page."""
    headers = {"Cache-Control": "private, no-cache", "Content-Language": wanted(request)}
    return HTMLResponse(html(request, template, **context), status, headers)


def go(path: str, done: str | None = None) -> RedirectResponse:
    """Send the browser on after a form, so that reload never sends it twice."""
    return RedirectResponse(f"{path}?done={done}" if done else path, 303)


def safe_next(path: str) -> str:
    """``path`` if it stays on this site, else the front page."""
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if inside and not urlsplit(path).netloc else "/projects"


def page_actor(request: Request, db: Db) -> Actor:
    """Who is signed in.

    Raises:
        SignInFirst: nobody.
        SetUpFirst: somebody who has yet to set up a second step.
    """
    token = request.cookies.get(COOKIE)
    actor = actor_of_cookie(db, token) if token else None
    if actor is None:
        wanted = request.url.path if request.method == "GET" else "/projects"
        raise SignInFirst(wanted)
    who, token = actor.person, actor.sign_in.csrf_token if actor.sign_in else ""
    request.state.visitor = Visitor(who.id, who.name, who.email, who.role, token, who.language)
    if request.url.path not in BEFORE_SET_UP and second_step_missing(db, actor):
        raise SetUpFirst
    return actor


PageActor = Annotated[Actor, Depends(page_actor)]


async def _posted(request: Request, actor: PageActor) -> AsyncIterator[FormData]:
    async with request.form(max_part_size=LONGEST_FIELD) as form:
        check_csrf(actor, text(form, "csrf_token"))
        yield form


Posted = Annotated[FormData, Depends(_posted)]
"""A form whose CSRF token was found right."""

Checked = Depends(_posted)
"""The same check, for forms with nothing in them but their button."""


def text(form: FormData, name: str) -> str:
    """A field as text; "" where it is missing or a file."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def texts(form: FormData) -> dict[str, str]:
    """All text fields of a form, without its CSRF token."""
    return {k: v for k, v in form.items() if isinstance(v, str) and k != "csrf_token"}


def line_ends(value: str) -> str:
    """A textarea's text with the line ends that everything else has: browsers send CRLF."""
    return value.replace("\r\n", "\n")


def errors_of(error: Problem | ValidationError) -> dict[str, str]:
    """What is wrong, by field name; what belongs to no field under ""."""
    if isinstance(error, ValidationError):
        return {".".join(map(str, item["loc"])): fault(item) for item in error.errors()}
    named = {item["field"]: item["message"] for item in error.extra.get("errors", [])}
    return named or {"": error.detail}


def same_origin(request: Request) -> None:
    """Refuse a form that another site sent; for the one form that no session protects.

    Raises:
        Forbidden: the browser says that the form came from elsewhere.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    host = request.headers.get("Host", "")
    if site not in (None, "same-origin", "none") or (
        site is None and origin not in (None, "null") and urlsplit(origin or "").netloc != host
    ):
        raise Forbidden(_("This form came from another site. Open the sign-in page here."))


def policy_names(numbers: dict[uuid.UUID, int]) -> Callable[[uuid.UUID], str]:
    """How templates call a policy: π₀ or its number."""

    def name(policy_id: uuid.UUID) -> str:
        number = numbers.get(policy_id)
        if number is None:
            return _("policy")
        return "π₀" if number == 0 else _("Policy %(number)s", number=str(number))

    return name


@router.get("/")
def front() -> RedirectResponse:
    """The front page is the list of projects."""
    return RedirectResponse("/projects", 303)


@router.get("/favicon.ico")
def favicon() -> RedirectResponse:
    """Browsers ask for it here where no page names another: beside JSON, for one."""
    return RedirectResponse(static_url("favicon.svg"))


def wants_html(request: Request) -> bool:
    """Whether a person with a browser asked, rather than a script."""
    path = request.url.path
    return not path.startswith(("/api/", "/static/")) and "text/html" in request.headers.get(
        "Accept", ""
    )


def error_page(request: Request, status: int, title: str, detail: str) -> HTMLResponse:
    """An error for people: what happened, and a way on."""
    return render(request, "error.html", status, code=status, title=title, detail=detail)


_TITLES = {404: _("Not found"), 405: _("Not possible here"), 413: _("Too large")}
_DETAILS = {404: _("There is no such page, or it is not yours to see.")}


def install(app: FastAPI) -> None:
    """Serve static files; show errors as pages where a browser asked.

    Scripts keep the problem documents of :mod:`app.errors`, which was installed before.
    """
    app.mount("/static", StaticPages(directory=STATIC), name="static")
    for_scripts = dict(app.exception_handlers)

    def shown(kind: Any, page: Callable[[Request, Any], Response]) -> None:
        document: Any = for_scripts[kind]

        @app.exception_handler(kind)
        def _handle(request: Request, error: Exception) -> Response:
            if wants_html(request):
                return page(request, error)
            answer: Response = document(request, error)
            return answer

    @app.exception_handler(SignInFirst)
    def _sign_in(_request: Request, error: SignInFirst) -> Response:
        return RedirectResponse(f"/sign-in?next={quote(error.back)}", 303)

    @app.exception_handler(SetUpFirst)
    def _set_up(_request: Request, _error: SetUpFirst) -> Response:
        return RedirectResponse("/account", 303)

    def problem(request: Request, error: Problem) -> Response:
        return error_page(request, error.status, error.title, error.detail)

    def plain(request: Request, error: HTTPException) -> Response:
        title = _TITLES.get(error.status_code, _("This did not work"))
        detail = _DETAILS.get(error.status_code, str(error.detail))
        return error_page(request, error.status_code, title, detail)

    def invalid(request: Request, _error: RequestValidationError) -> Response:
        return error_page(request, 404, _TITLES[404], _DETAILS[404])

    def unexpected(request: Request, _error: Exception) -> Response:
        detail = _("Something went wrong on the server; nothing was stored. Try again in a moment.")
        return error_page(request, 500, _("The server failed"), detail)

    def busy(request: Request, error: Exception) -> Response:
        if getattr(error, "connection_invalidated", False):
            return unexpected(request, error)
        return error_page(request, 503, Unavailable.title, BUSY)

    shown(Problem, problem)
    shown(OperationalError, busy)
    shown(PoolTimeout, busy)
    shown(HTTPException, plain)
    shown(RequestValidationError, invalid)
    shown(Exception, unexpected)
