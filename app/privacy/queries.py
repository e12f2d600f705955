"""Everything that is kept about a person, read in one snapshot."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, Select, String, cast, or_, select

from app.database import get_engine
from app.labelling.models import Preference, PreferenceVersion
from app.labelling.practice_models import PracticeResult
from app.people.models import (
    ApiKey,
    Group,
    GroupMember,
    Identity,
    Invitation,
    InvitationUse,
    Membership,
    PasswordLink,
    Person,
    SecondFactor,
    SignIn,
)
from app.projects.models import Project
from app.quality.models import SetAside
from app.rounds.models import Event

ROWS_AT_ONCE = 500
ABOUT = ("annotator", "member", "person")
"""Names under which an event's data refer to a person."""


def _parts(person_id: uuid.UUID) -> dict[str, Select[*tuple[Any, ...]]]:
    """One query a list; no text of a pair is in any, and no secret or hash of one."""
    labels = [
        column
        for column in Preference.__table__.columns
        if column.name not in ("person_id", "gold")  # gold is unseen, here as well
    ]
    named = or_(
        Event.person_id == person_id,
        *(Event.data[name].as_string() == str(person_id) for name in ABOUT),
    )
    return {
        "sign_ins": select(SignIn.created_at, SignIn.last_seen_at, SignIn.expires_at).where(
            SignIn.person_id == person_id
        ),
        "second_factor": select(SecondFactor.created_at, SecondFactor.confirmed_at).where(
            SecondFactor.person_id == person_id
        ),
        "password_link": select(PasswordLink.created_at, PasswordLink.expires_at).where(
            PasswordLink.person_id == person_id
        ),
        "identities": select(
            Identity.issuer, Identity.subject, Identity.created_at, Identity.last_used_at
        ).where(Identity.person_id == person_id),
        "keys": select(
            ApiKey.id,
            ApiKey.name,
            ApiKey.scope,
            ApiKey.project_id,
            ApiKey.prefix,
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.last_used_at,
            ApiKey.revoked_at,
        ).where(ApiKey.person_id == person_id),
        "memberships": select(
            Membership.project_id, Project.name, Membership.role, Membership.created_at
        )
        .join(Project, Project.id == Membership.project_id)
        .where(Membership.person_id == person_id),
        "groups": select(Group.name, GroupMember.created_at)
        .join(Group, Group.id == GroupMember.group_id)
        .where(GroupMember.person_id == person_id),
        "invitations": select(
            Invitation.project_id, Invitation.role, Invitation.email, InvitationUse.created_at
        )
        .join(InvitationUse, InvitationUse.invitation_id == Invitation.id)
        .where(InvitationUse.person_id == person_id),
        "set_asides": select(SetAside.project_id, SetAside.reason, SetAside.created_at).where(
            SetAside.person_id == person_id
        ),
        "practice": select(*PracticeResult.__table__.columns).where(
            PracticeResult.person_id == person_id
        ),
        "preferences": select(*labels)
        .where(Preference.person_id == person_id)
        .order_by(Preference.id),
        "preference_versions": select(*PreferenceVersion.__table__.columns)
        .join(Preference, Preference.id == PreferenceVersion.preference_id)
        .where(Preference.person_id == person_id)
        .order_by(PreferenceVersion.preference_id, PreferenceVersion.version),
        "events": select(
            Event.id,
            Event.created_at,
            Event.kind,
            Event.project_id,
            Event.round_id,
            (Event.person_id == person_id).label("by_this_person"),
            cast(Event.data, String).label("data"),
        )
        .where(named)
        .order_by(Event.id),
    }


def everything_about(person_id: uuid.UUID) -> Iterator[bytes]:
    """One JSON object, streamed: ``account``, and a list for all else that is kept."""
    engine = get_engine().execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        account = connection.execute(
            select(
                Person.id,
                Person.email,
                Person.name,
                Person.role,
                Person.shortcuts,
                Person.active,
                Person.created_at,
                Person.deactivated_at,
                Person.deleted_at,
            ).where(Person.id == person_id)
        ).one()
        yield b'{"account":' + _json(account._asdict())
        for name, query in _parts(person_id).items():
            yield b',\n"' + name.encode() + b'":['
            yield from _rows(connection, query)
            yield b"]"
        yield b"}\n"


def _rows(connection: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[bytes]:
    between = b"\n"
    streamed = connection.execution_options(yield_per=ROWS_AT_ONCE)
    for row in streamed.execute(query):
        values = row._asdict()
        if "data" in values:
            values["data"] = orjson.loads(values["data"])
        yield between + _json(values)
        between = b",\n"


def _json(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value)
