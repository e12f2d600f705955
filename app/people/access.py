"""Who is asking, and what they may do: the one place that answers both."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import Depends, Request
from sqlalchemy import Select, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Forbidden, NotFound, Unauthorized
from app.language import _
from app.people import throttle
from app.people.models import PROJECT_ROLES, ApiKey, Person, SecondFactor, SignIn, held_roles
from app.projects.models import Project
from app.settings import get_settings

COOKIE = "activedpo_session"
CSRF_HEADER = "X-CSRF-Token"
IDLE_END = dt.timedelta(days=3)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SEEN_EVERY = dt.timedelta(minutes=1)

# What a session may do whose person has yet to set up the second step that is asked of them
BEFORE_SET_UP = frozenset(
    {
        "/account",
        "/account/language",
        "/account/second-factor",
        "/account/second-factor/confirm",
        "/sign-out",
        "/api/v1/me",
        "/api/v1/sign-out",
    }
)

Need = Literal["view", "label", "review", "manage", "own"]
MANAGERS = ("owner", "admin")
REVIEWERS = (*MANAGERS, "reviewer")


@dataclass(frozen=True)
class Actor:
    """A person, and through what they came: an API key or a browser session.

    ``scope`` is what the way in may do: a key says so, a browser session may do all that
    its person may.
    """

    person: Person
    scope: str
    key: ApiKey | None = None
    sign_in: SignIn | None = None

    @property
    def is_admin(self) -> bool:
        """A site admin, through a way in that is not narrowed."""
        return self.person.role == "admin" and self.scope == "admin" and self.only_project is None

    @property
    def only_project(self) -> uuid.UUID | None:
        """The one project that the key is for, where it is for one."""
        return self.key.project_id if self.key else None

    def require_admin(self) -> None:
        """Raise :class:`Forbidden` unless a site admin asks."""
        if not self.is_admin:
            raise Forbidden(_("Only an admin of this site may do this."))


def token_hash(secret: str) -> str:
    """What is stored of a key or a session token: its SHA-256, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def now() -> dt.datetime:
    """The present, with its zone."""
    return dt.datetime.now(dt.UTC)


def actor_of_key(session: Session, secret: str) -> Actor:
    """The actor behind an API key.

    Raises:
        Unauthorized: unknown, revoked or expired, or its person is not active any more.
    """
    found = session.execute(
        select(ApiKey, Person)
        .join(Person, Person.id == ApiKey.person_id)
        .where(ApiKey.key_hash == token_hash(secret), Person.active)
        .where(ApiKey.revoked_at.is_(None))
        .where(or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now()))
    ).one_or_none()
    if found is None:
        raise Unauthorized(_("The API key is unknown, revoked or expired."))
    key, person = found
    if key.last_used_at is None or now() - key.last_used_at > _SEEN_EVERY:
        _touch(session, ApiKey, key.id, "last_used_at")
    return Actor(person, key.scope, key=key)


def actor_of_cookie(session: Session, token: str) -> Actor | None:
    """The actor behind a session cookie; None where it has ended."""
    found = session.execute(
        select(SignIn, Person)
        .join(Person, Person.id == SignIn.person_id)
        .where(SignIn.token_hash == token_hash(token), Person.active)
        .where(SignIn.expires_at > now(), SignIn.last_seen_at > now() - IDLE_END)
    ).one_or_none()
    if found is None:
        return None
    sign_in, person = found
    if now() - sign_in.last_seen_at > _SEEN_EVERY:
        _touch(session, SignIn, sign_in.id, "last_seen_at")
    return Actor(person, "admin", sign_in=sign_in)


def _touch(session: Session, table: type[ApiKey | SignIn], id: uuid.UUID, column: str) -> None:
    """Write the time of use; where another request is just doing so, leave it to that one."""
    free = select(table.id).where(table.id == id)
    free = free.with_for_update(skip_locked=True, key_share=True)
    session.execute(
        update(table)
        .where(table.id.in_(free))
        .values({column: now()})
        .execution_options(synchronize_session=False)
    )


def find_actor(request: Request, session: Session) -> Actor | None:
    """The actor of a request, by key or by cookie, its CSRF token not yet looked at.

    Raises:
        Unauthorized: a key was sent and is not valid.
    """
    scheme, __, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthorized(_("Send `Authorization: Bearer <api key>`."))
        return actor_of_key(session, _utf8(secret.strip()))
    token = request.cookies.get(COOKIE)
    return actor_of_cookie(session, token) if token else None


def _utf8(header: str) -> str:
    """A header's value as it was meant: servers read bytes as Latin-1, clients send UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def check_csrf(actor: Actor, token: str | None) -> None:
    """Raise :class:`Forbidden` unless ``token`` is that of the actor's browser session."""
    if actor.sign_in is None:
        return
    if not hmac.compare_digest(actor.sign_in.csrf_token.encode(), (token or "").encode()):
        raise Forbidden(_("The form is out of date: load the page again and repeat."))


def second_step_wanted(person: Person) -> bool:
    """Whether the settings ask this person for a second step."""
    wanted = get_settings().second_factor
    return wanted == "all" or (wanted == "admins" and person.role == "admin")


def second_step_missing(session: Session, actor: Actor) -> bool:
    """Whether a browser session may do nothing before its person has set up a second step."""
    if actor.sign_in is None or not second_step_wanted(actor.person):
        return False
    found = session.get(SecondFactor, actor.person.id)
    return found is None or found.confirmed_at is None


def current_actor(request: Request, db: Db) -> Actor:
    """The actor of an API call: a key, or a cookie with its CSRF header on unsafe methods.

    Raises:
        Unauthorized: neither is there, or it is not valid.
        Forbidden: the CSRF header is missing or wrong, or a second step has to be set up first.
        TooMany: an admin has set a rate for the key, and it is used up.
    """
    actor = find_actor(request, db)
    if actor is None:
        raise Unauthorized(_("Send `Authorization: Bearer <api key>`, or sign in."))
    if request.method not in SAFE_METHODS:
        check_csrf(actor, request.headers.get(CSRF_HEADER))
    if request.url.path not in BEFORE_SET_UP and second_step_missing(db, actor):
        raise Forbidden(
            _("This site asks you for a second step of signing in: set it up at /account first."),
            second_factor=True,
        )
    if actor.key is not None and actor.key.rate_limit is not None:
        throttle.count_call(str(actor.key.id), actor.key.rate_limit)
    return actor


CurrentActor = Annotated[Actor, Depends(current_actor)]


def role_in(session: Session, person_id: uuid.UUID, project_id: uuid.UUID) -> str | None:
    """A person's role in a project, the highest of their own and their groups'; None: no member."""
    about = {"project": project_id, "person": person_id}
    return _highest(session.scalars(_roles(), about).all())


@lru_cache  # asked by almost every request: putting it together takes longer than running it
def _roles() -> Select[str]:
    held = held_roles()
    return select(held.c.role).where(
        held.c.project_id == bindparam("project"), held.c.person_id == bindparam("person")
    )


@lru_cache
def _project_and_roles() -> Select[Project, list[str] | None]:
    roles = select(func.array_agg(_roles().subquery().c.role)).scalar_subquery()
    return select(Project, roles).where(Project.id == bindparam("project"))


def _highest(roles: Iterable[str]) -> str | None:
    return min(roles, key=PROJECT_ROLES.index, default=None)


def may(actor: Actor, role: str | None, need: Need) -> bool:
    """Whether an actor with ``role`` in a project (None: no member) may do ``need`` there."""
    if need in ("view", "label"):
        return True
    if need == "review":  # an answer to a pair: a key that is for labelling gives it as well
        return actor.scope != "oracle" and (actor.person.role == "admin" or role in REVIEWERS)
    wanted = MANAGERS if need == "manage" else ("owner",)
    return actor.scope == "admin" and (actor.person.role == "admin" or role in wanted)


_NEEDED = {
    "review": "a reviewer, admin or owner of the project",
    "manage": "an owner or admin of the project, and an admin-scoped key",
    "own": "the owner of the project, and an admin-scoped key",
}


def project_for(session: Session, actor: Actor, project_id: uuid.UUID, need: Need) -> Project:
    """The project, if the actor may do ``need`` in it.

    Raises:
        NotFound: there is none, or not for this actor: both look the same from outside.
        Forbidden: the actor sees the project and may not do this.
    """
    missing = NotFound(_("There is no such project, or you are not a member of it."))
    if actor.only_project not in (None, project_id):
        raise missing
    about = {"project": project_id, "person": actor.person.id}
    found = session.execute(_project_and_roles(), about).one_or_none()
    if found is None or found[0].deleted_at is not None:
        raise missing
    project: Project = found[0]
    role = _highest(found[1] or ())
    if role is None and actor.person.role != "admin":
        raise missing
    if not may(actor, role, need):
        raise Forbidden(_("This needs %(needed)s.", needed=_NEEDED[need]))
    return project
