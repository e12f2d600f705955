"""The two addresses of signing in through the identity provider: to it, and back."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.database import Db
from app.errors import NotFound, Problem
from app.language import _
from app.people import identities, invitation_pages, oidc, sessions, throttle
from app.people.access import COOKIE
from app.people.account_pages import code_page
from app.people.api import set_cookie
from app.people.door import door
from app.people.requests import place_of, site_of
from app.settings import get_settings
from app.web import go, safe_next

router = APIRouter(include_in_schema=False)
BEGUN_COOKIE = "activedpo_oidc"
PATH = "/sign-in/oidc"


def _redirect_uri(request: Request) -> str:
    """Where the provider sends people back to: an address that it has been told of."""
    return site_of(request) + PATH + "/callback"


def _configured() -> None:
    if not oidc.configured():
        raise NotFound(_("This site has no identity provider."))


@router.get(PATH)
def to_provider(request: Request, next: str = "/projects") -> Response:
    """Send the browser to the provider."""
    _configured()
    onward = safe_next(next)
    try:
        address, begun = oidc.begin(_redirect_uri(request), onward)
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
def from_provider(request: Request, db: Db) -> Response:
    """Begin a session for who the provider vouches for."""
    _configured()
    try:
        response = _came_back(request, db)
    except identities.NoRoleError as problem:
        db.rollback()
        if problem.person_id is not None:  # what they were let in for before ends as well
            sessions.sign_out_everywhere(db, problem.person_id)
        response = door(request, "/projects", problem=problem)
    except Problem as problem:
        db.rollback()
        if isinstance(problem, oidc.NotProvenError):
            throttle.count_place_failure(place_of(request))
        response = door(request, "/projects", problem=problem)
    response.delete_cookie(
        BEGUN_COOKIE, path=PATH, httponly=True, samesite="lax", secure=_secure(request)
    )
    return response


def _came_back(request: Request, db: Db) -> Response:
    throttle.check_place(place_of(request))
    begun = request.cookies.get(BEGUN_COOKIE, "")
    answer = dict(request.query_params)
    who, onward = oidc.finish(begun, _redirect_uri(request), answer)
    invited = invitation_pages.is_invited(request, db)
    person = identities.person_for(db, who, invited=invited)
    try:
        new = sessions.sign_in_as(db, person, request.cookies.get(COOKIE))
    except sessions.SecondStepNeeded as step:
        return code_page(request, step.ticket, onward)
    response = go(onward)
    set_cookie(response, new)
    return response
