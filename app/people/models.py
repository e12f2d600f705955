"""Tables of people, memberships, sessions and API keys."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Subquery,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Identified, Json
from app.language import _

ROLE_WORDS = {
    "owner": _("owner"),
    "admin": _("admin"),
    "reviewer": _("reviewer"),
    "annotator": _("annotator"),
    "oracle": _("oracle"),
}
PROJECT_ROLES = ("owner", "admin", "reviewer", "annotator", "oracle")
"""The most first: who has several has what the first of them gives."""
KEY_SCOPES = ("admin", "annotator", "oracle")


class Person(Identified, Base):
    """Somebody who signs in, or an oracle's account. ``role`` admin sees every project;
    ``language`` None is what their browser asks for.

    Of who was deleted (``deleted_at``) the row stays, without name and address, since their
    labels refer to it. ``email_proven``: an admin or the identity provider says that the address
    is theirs; who came by an invitation has said so themselves.
    """

    __tablename__ = "people"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'member')", name="role"),
        CheckConstraint("email = lower(email)", name="email_lower"),
    )

    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    role: Mapped[str] = mapped_column(default="member")
    password_hash: Mapped[str | None]
    shortcuts: Mapped[Json | None]  # keys of the labelling page: app.labelling.shortcuts
    language: Mapped[str | None]
    email_proven: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    active: Mapped[bool] = mapped_column(default=True)
    deactivated_at: Mapped[dt.datetime | None]
    deleted_at: Mapped[dt.datetime | None]


class Membership(Base):
    """A person's own role in one project; groups may give them another (:func:`held_roles`).

    ``left_at``: of an oracle that was taken out; its row stays, and so its labels are an oracle's.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint(
            "role IN ('owner', 'admin', 'reviewer', 'annotator', 'oracle')", name="role"
        ),
        Index("ix_memberships_person_id", "person_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[str]
    left_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class Group(Identified, Base):
    """People under one name, who are let into projects together."""

    __tablename__ = "groups"
    __table_args__ = (
        CheckConstraint("char_length(name) BETWEEN 1 AND 100", name="name"),
        UniqueConstraint("name"),
    )

    name: Mapped[str]


class GroupMember(Base):
    """Somebody in a group."""

    __tablename__ = "group_members"
    __table_args__ = (Index("ix_group_members_person_id", "person_id"),)

    group_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class GroupRole(Base):
    """The role that everybody in a group has in a project, beside their own.

    Never owner: a project belongs to people, so that its last owner is always one who can act.
    """

    __tablename__ = "group_roles"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'reviewer', 'annotator')", name="role"),
        Index("ix_group_roles_group_id", "group_id"),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    group_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


def held_roles() -> Subquery:
    """(project_id, person_id, role): every role that somebody has, their own and their groups'.

    A union of two tables that are each indexed by project and person: conditions reach both.
    """
    own = select(Membership.project_id, Membership.person_id, Membership.role)
    by_group = select(GroupRole.project_id, GroupMember.person_id, GroupRole.role).join(
        GroupMember, GroupMember.group_id == GroupRole.group_id
    )
    return own.where(Membership.left_at.is_(None)).union_all(by_group).subquery("held_roles")


class SignIn(Identified, Base):
    """A browser session; only the hash of its token is kept."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_person_id", "person_id"),)

    token_hash: Mapped[str] = mapped_column(unique=True)
    csrf_token: Mapped[str]
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    last_seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[dt.datetime]


class ApiKey(Identified, Base):
    """An API key: its hash, what it may do, and, where set, the one project it is for."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("scope IN ('admin', 'annotator', 'oracle')", name="scope"),
        UniqueConstraint("key_hash"),
        Index("ix_api_keys_person_id", "person_id"),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    project_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE")
    )
    name: Mapped[str] = mapped_column(default="")
    scope: Mapped[str] = mapped_column(default="annotator")
    prefix: Mapped[str]
    key_hash: Mapped[str]
    expires_at: Mapped[dt.datetime | None]
    last_used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]
    rate_limit: Mapped[str | None] = mapped_column(server_default=text("NULL"))


class SecondFactor(Base):
    """The secret of a person's authenticator app, sealed; in use once ``confirmed_at`` is set.

    ``last_step`` is the newest 30-second step whose code was used: no code works twice.
    """

    __tablename__ = "second_factors"

    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    secret: Mapped[str]
    confirmed_at: Mapped[dt.datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class Identity(Identified, Base):
    """Who a person is at the identity provider: its issuer and the subject there."""

    __tablename__ = "identities"
    __table_args__ = (
        UniqueConstraint("issuer", "subject"),
        UniqueConstraint("person_id", "issuer"),
    )

    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    issuer: Mapped[str]
    subject: Mapped[str]
    last_used_at: Mapped[dt.datetime | None]


class RecoveryCode(Identified, Base):
    """One of the codes that stand in for the authenticator app, each once; argon2id."""

    __tablename__ = "recovery_codes"
    __table_args__ = (Index("ix_recovery_codes_person_id", "person_id"),)

    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"))
    code_hash: Mapped[str]
    used_at: Mapped[dt.datetime | None]


class Invitation(Identified, Base):
    """A link that lets people in, each with ``role``: into a project, or, without one, the site.

    Only the hash of its token is kept. ``email``: whom alone it is for. It lets ``uses_allowed``
    people in, until ``expires_at``, and while whoever made it may give the role.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint("uses BETWEEN 0 AND uses_allowed", name="uses"),
        CheckConstraint("uses_allowed BETWEEN 1 AND 1000", name="uses_allowed"),
        CheckConstraint(
            "role IN ('owner', 'admin', 'reviewer', 'annotator', 'oracle')"
            " AND project_id IS NOT NULL OR role IN ('admin', 'member') AND project_id IS NULL",
            name="role",
        ),
        CheckConstraint("email = lower(email)", name="email_lower"),
        Index("ix_invitations_project_id", "project_id", "id"),
    )

    project_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE")
    )
    role: Mapped[str]
    email: Mapped[str | None]
    token_hash: Mapped[str] = mapped_column(unique=True)
    uses: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    uses_allowed: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )


class InvitationUse(Base):
    """Who came by an invitation: nobody twice by the same one."""

    __tablename__ = "invitation_uses"
    __table_args__ = (Index("ix_invitation_uses_person_id", "person_id"),)

    invitation_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("invitations.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class PasswordLink(Base):
    """A link by which a person sets a new password, once; an admin made it for them.

    One a person: another takes its place, and it goes with its use, with any other change of the
    password, and with the person's leave. Only the hash of its token is kept.
    """

    __tablename__ = "password_links"

    person_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[dt.datetime]
    created_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL")
    )
