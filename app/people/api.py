"""People, API keys, members and sign-in over HTTP."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
)

from app.database import Db
from app.errors import Forbidden, Invalid
from app.idempotency.route import Once, OnceRoute
from app.paging import Paged
from app.people import (
    actions,
    group_api,
    invitation_api,
    queries,
    second_factor,
    sessions,
    throttle,
)
from app.people.access import COOKIE, CurrentActor, project_for
from app.people.door import speak
from app.people.models import ApiKey, Person
from app.people.requests import place_of
from app.settings import get_settings
from app.storable import Text

router = APIRouter(prefix="/api/v1", tags=["people"], route_class=OnceRoute)
router.include_router(invitation_api.router)
router.include_router(group_api.router)

Name = Annotated[Text, Field(max_length=200)]
Scope = Literal["admin", "annotator", "oracle"]
Rate = Annotated[
    Text,
    Field(
        max_length=50, json_schema_extra={"pattern": "^[1-9][0-9]{0,4}/(second|minute|hour|day)$"}
    ),
    AfterValidator(throttle.checked_rate),
]
ProjectRole = Literal["owner", "admin", "reviewer", "annotator", "oracle"]


class Body(BaseModel):
    """A request's body: a field it does not know is an error."""

    model_config = ConfigDict(extra="forbid")


class SignInBody(Body):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[SecretStr, Field(max_length=1000)]
    code: Annotated[
        str | None, Field(max_length=100, description="Of the second step, where one is set up.")
    ] = None


class PersonBody(Body):
    email: Annotated[Text, Field(max_length=254)]
    name: Name = ""
    role: Literal["admin", "member"] = "member"
    password: SecretStr | None = None


class PersonChange(Body):
    name: Name | None = None
    role: Literal["admin", "member"] | None = None
    active: StrictBool | None = None
    password: SecretStr | None = None


class PasswordBody(Body):
    current: SecretStr
    new: SecretStr


class KeyBody(Body):
    name: Name = ""
    scope: Scope = "annotator"
    project: uuid.UUID | None = None
    person: uuid.UUID | None = None
    expires_at: AwareDatetime | None = None
    rate_limit: Rate | None = None


class KeyChange(Body):
    name: Name | None = None
    rate_limit: Rate | None = None


class RotateBody(Body):
    overlap: float = Field(
        0,
        ge=0,
        le=604_800,
        allow_inf_nan=False,
        description="Seconds for which the old key works still.",
    )


class MemberBody(Body):
    person: uuid.UUID | None = None
    email: Annotated[Text, Field(max_length=254)] | None = None
    role: ProjectRole = "annotator"


def set_cookie(response: Response, new: sessions.NewSession) -> None:
    """Give the browser its session, and the language of who has chosen one."""
    if new.person.language is not None:
        speak(response, new.person.language)
    response.set_cookie(
        COOKIE,
        new.token,
        expires=new.expires_at.astimezone(dt.UTC),
        httponly=True,
        samesite="lax",
        secure=get_settings().secure_cookies,
    )


def clear_cookie(response: Response) -> None:
    """Take the browser's session back."""
    secure = get_settings().secure_cookies
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=secure)


@router.post("/sign-in")
def sign_in(body: SignInBody, request: Request, response: Response, db: Db) -> dict[str, Any]:
    """Begin a browser session; unsafe calls with its cookie send `X-CSRF-Token` too."""
    new = sessions.sign_in(
        db,
        body.email,
        body.password.get_secret_value(),
        place_of(request),
        request.cookies.get(COOKIE),
        body.code,
    )
    set_cookie(response, new)
    return {"person": queries.person_view(new.person), "csrf_token": new.csrf_token}


@router.post("/sign-out", status_code=204)
def sign_out(actor: CurrentActor, request: Request, response: Response, db: Db) -> None:
    """End the browser session."""
    if actor.sign_in is not None:
        sessions.sign_out(db, request.cookies[COOKIE])
    clear_cookie(response)


@router.get("/me")
def me(actor: CurrentActor) -> dict[str, Any]:
    """Who is asking, and what this way in may do."""
    view = queries.person_view(actor.person)
    return {**view, "scope": actor.scope, "project": actor.only_project}


@router.put("/me/password", status_code=204)
def change_password(body: PasswordBody, actor: CurrentActor, request: Request, db: Db) -> None:
    """Change one's own password; every other session of the person ends."""
    if actor.sign_in is None:
        raise Forbidden("Sign in to change your password; an API key cannot.")
    sessions.confirm_password(actor.person, body.current.get_secret_value(), place_of(request))
    actions.set_password(db, actor.person, body.new.get_secret_value(), keep=actor.sign_in.id)


@router.get("/people")
def list_people(actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """Everybody (admins)."""
    actor.require_admin()
    return page.of(db, queries.people(), Person.id, queries.person_view)


@router.post("/people", status_code=201)
def create_person(body: PersonBody, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Add a person (admins)."""
    actor.require_admin()
    secret = body.password.get_secret_value() if body.password else None
    person = actions.add_person(db, body.email, body.name, body.role, secret)
    return queries.person_view(person)


@router.get("/people/{person_id}")
def get_person(person_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """One person (admins)."""
    actor.require_admin()
    return queries.person_view(queries.person_by_id(db, person_id))


@router.patch("/people/{person_id}")
def change_person(
    person_id: uuid.UUID, body: PersonChange, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Change a person's name, role or password, or make them inactive (admins)."""
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    if body.password is not None:
        actions.set_password(db, person, body.password.get_secret_value())
    actions.change_person(db, person, name=body.name, role=body.role, active=body.active)
    return queries.person_view(person)


@router.delete("/people/{person_id}/second-factor", status_code=204)
def reset_second_factor(person_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Take a person's second step out and end their sessions (admins)."""
    actor.require_admin()
    person = queries.person_by_id(db, person_id)
    second_factor.reset(db, person, actor.person.id)
    sessions.sign_out_everywhere(db, person.id)


@router.get("/keys")
def list_keys(actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """One's own keys; admins see all."""
    return page.of(db, queries.keys_for(actor), ApiKey.id, queries.key_view)


@router.post("/keys", status_code=201)
def create_key(body: KeyBody, actor: CurrentActor, db: Db, _: Once) -> dict[str, Any]:
    """Make a key; the answer is the only place where it is ever shown, as `key`."""
    if actor.scope != "admin":
        raise Forbidden("Making keys needs an admin-scoped key, or to be signed in.")
    person = actor.person
    if body.person not in (None, person.id):
        actor.require_admin()
        person = queries.person_by_id(db, body.person)
    if actor.only_project not in (None, body.project):
        raise Forbidden("A key for one project makes keys for that project only.")
    if body.project is not None:
        project_for(db, actor, body.project, "view")
    key, secret = actions.add_key(
        db, person, body.scope, body.name, body.project, body.expires_at, actor.person.id
    )
    key.rate_limit = body.rate_limit
    db.flush()
    return {**queries.key_view(key), "key": secret}


@router.post("/keys/{key_id}/rotate", status_code=201)
def rotate_key(
    key_id: uuid.UUID, body: RotateBody, actor: CurrentActor, db: Db, _: Once
) -> dict[str, Any]:
    """Replace a key by a new one that may do the same, shown this once as `key`."""
    old = queries.key_for(db, actor, key_id)
    if actor.scope != "admin":
        raise Forbidden("Changing keys needs an admin-scoped key, or to be signed in.")
    if actor.only_project not in (None, old.project_id):
        raise Forbidden("A key for one project makes keys for that project only.")
    new, secret = actions.rotate_key(db, old, dt.timedelta(seconds=body.overlap), actor.person.id)
    return {**queries.key_view(new), "key": secret}


@router.patch("/keys/{key_id}")
def change_key(key_id: uuid.UUID, body: KeyChange, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Rename a key, or limit how often it may call, as in "100/minute"; null: as often as it likes.

    Limits are an admin's to set.
    """
    key = queries.key_for(db, actor, key_id)
    if actor.scope != "admin":
        raise Forbidden("Changing keys needs an admin-scoped key, or to be signed in.")
    if body.name is not None:
        key.name = body.name
    if "rate_limit" in body.model_fields_set:
        actor.require_admin()
        key.rate_limit = body.rate_limit
    db.flush()
    return queries.key_view(key)


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(key_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """End a key at once."""
    key = queries.key_for(db, actor, key_id)
    if actor.scope != "admin" and (actor.key is None or actor.key.id != key.id):
        raise Forbidden("A narrow key can end itself only.")
    actions.revoke_key(db, key, actor.person.id)


@router.get("/projects/{project_id}/members")
def list_members(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """Who works on a project."""
    project = project_for(db, actor, project_id, "manage")
    return page.of(db, queries.members_of(project.id), Person.id, queries.member_view)


@router.post("/projects/{project_id}/members", status_code=201)
def add_member(
    project_id: uuid.UUID, body: MemberBody, actor: CurrentActor, db: Db
) -> dict[str, Any]:
    """Add a person by id or e-mail address, or change a member's role."""
    project = project_for(db, actor, project_id, "manage")
    if (body.person is None) == (body.email is None):
        raise Invalid("person: give either `person` or `email`.", field="person")
    if body.person is not None:
        person = queries.person_by_id(db, body.person)
    else:
        person = actions.person_called(db, body.email or "")
    member = actions.add_member(db, project, person, body.role, actor.person.id)
    return queries.member_view((member, person))


@router.delete("/projects/{project_id}/members/{person_id}", status_code=204)
def remove_member(project_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """End a membership; what the person labelled stays."""
    project = project_for(db, actor, project_id, "manage")
    actions.remove_member(db, project, person_id, actor.person.id)


@router.post("/projects/{project_id}/members/{person_id}/owner", status_code=204)
def hand_over(project_id: uuid.UUID, person_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Make a member the owner; who owned the project stays as its admin (owners)."""
    project = project_for(db, actor, project_id, "own")
    actions.hand_over(db, project, person_id, actor.person)
