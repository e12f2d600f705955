"""The two addresses of signing in through the identity provider: to it, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app import skew
from app.database import transaction
from app.errors import NotFound, Problem
from app.language import _
from app.people import identities, invitation_pages, oidc, sessions, throttle
from app.people.access import COOKIE
from app.people.account_pages import code_page
from app.people.api import set_cookie
from app.people.door import door
from app.people.requests import place_of, site_of
from app.settings import get_settings
from app.turns import in_turn
from app.web import go, safe_next

router = APIRouter(include_in_schema=False)
BEGUN_COOKIE = "activedpo_oidc"
PATH = "/sign-in/oidc"

P = ParamSpec("P")
T = TypeVar("T")

_asking_at_once = CapacityLimiter(8)


def _redirect_uri(request: Request) -> str:
    """Where the provider sends people back to: an address that it has been told of."""
    return site_of(request) + PATH + "/callback"


def _configured() -> None:
    if not oidc.configured():
        raise NotFound(_("This site has no identity provider."))


async def _asking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what waits for the provider in a thread that is kept for it: however slow it is, and
    however many sign in, others have their threads, turns and connections."""
    return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=_asking_at_once)


@router.get(PATH)
async def to_provider(request: Request, next: str = "/projects") -> Response:
    """Send the browser to the provider."""
    _configured()
    onward = safe_next(next)
    try:
        address, begun = await _asking(oidc.begin, _redirect_uri(request), onward)
    except Problem as problem:
        return door(request, onward, problem=problem)
    response = RedirectResponse(address, 303)
    response.set_cookie(
        BEGUN_COOKIE,
        begun,
        max_age=oidc.BEGUN_SECONDS,
        path=PATH,
        httponly=True,
        samesite="lax",  # it comes back by a link from the provider's site
        secure=_secure(request),
    )
    return response


def _secure(request: Request) -> bool:
    return get_settings().secure_cookies or urlsplit(_redirect_uri(request)).scheme == "https"


@router.get(PATH + "/callback")
async def from_provider(request: Request) -> Response:
    """Begin a session for who the provider vouches for."""
    _configured()
    try:
        who, onward = await _asking(_vouched_for, request)
        response = await in_turn(_let_in, request, who, onward)
    except Problem as problem:
        response = door(request, "/projects", problem=problem)
    response.delete_cookie(
        BEGUN_COOKIE, path=PATH, httponly=True, samesite="lax", secure=_secure(request)
    )
    return response


def _vouched_for(request: Request) -> tuple[oidc.Claims, str]:
    throttle.check_place(place_of(request))
    begun = request.cookies.get(BEGUN_COOKIE, "")
    try:
        return oidc.finish(begun, _redirect_uri(request), dict(request.query_params))
    except oidc.NotProvenError:
        throttle.count_place_failure(place_of(request))
        raise


def _let_in(request: Request, who: oidc.Claims, onward: str) -> Response:
    try:
        with transaction() as db:
            skew.check_again(db.connection())
            invited = invitation_pages.is_invited(request, db)
            person = identities.person_for(db, who, invited=invited)
            try:
                new = sessions.sign_in_as(db, person, request.cookies.get(COOKIE))
            except sessions.SecondStepNeeded as step:
                return code_page(request, step.ticket, onward)
    except identities.NoRoleError as problem:
        if problem.person_id is not None:  # what they were let in for before ends as well
            with transaction() as db:
                sessions.sign_out_everywhere(db, problem.person_id)
        raise
    response = go(onward)
    set_cookie(response, new)
    return response
