"""Invitations by link: making, revoking and using them. Callers commit.

A link is worth what its maker may give at the moment it is used, so it ends with their rights.
Whatever is wrong with one, the answer is the same.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict, Forbidden, Gone, Invalid, NotFound, Unauthorized
from app.language import _
from app.people import actions, roles, text, throttle
from app.people.access import now, role_in, token_hash
from app.people.models import PROJECT_ROLES, Invitation, InvitationUse, Person
from app.projects.models import Project
from app.rounds.events import record
from app.settings import get_settings

SITE_ROLES = ("admin", "member")
LONGEST_DAYS, MOST_USES = 365, 1000
DEAD = (
    "This invitation does not open anything: it was used up, has ended, was revoked, or never was. "
    "Ask for a new one."
)


def invite(
    session: Session,
    project: Project | None,
    role: str,
    by: Person,
    *,
    email: str | None = None,
    days: int = 7,
    uses: int = 1,
) -> tuple[Invitation, str]:
    """Make an invitation; the token is returned once and only its hash is kept.

    Args:
        project: which one it leads into; None: the site, for its admins to make.
        email: whom alone it is for.

    Raises:
        Invalid: naming the field.
        Forbidden: the role is more than that of ``by``.
    """
    _check(project, role, days, uses)
    if not may_give(session, by.id, project.id if project else None, role):
        raise Forbidden(
            _("The role %(role)s is not yours to give: it is more than yours.", role=role)
        )
    token = secrets.token_urlsafe(32)
    invitation = Invitation(
        project_id=project.id if project else None,
        role=role,
        email=text.email(email) if email else None,
        token_hash=token_hash(token),
        uses_allowed=uses,
        expires_at=now() + dt.timedelta(days=days),
        created_by=by.id,
    )
    session.add(invitation)
    session.flush()
    _tell(session, "created", invitation, by.id, role=role, uses=uses, days=days)
    return invitation, token


def _check(project: Project | None, role: str, days: int, uses: int) -> None:
    known = PROJECT_ROLES if project else SITE_ROLES
    if role not in known:
        raise Invalid(_("role: one of %(known)s.", known=", ".join(known)), field="role")
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid(_("days: 1 to %(longest_days)s.", longest_days=LONGEST_DAYS), field="days")
    if not 1 <= uses <= MOST_USES:
        raise Invalid(_("uses: 1 to %(most_uses)s.", most_uses=MOST_USES), field="uses")


def may_give(
    session: Session, person_id: uuid.UUID | None, project_id: uuid.UUID | None, role: str
) -> bool:
    """Whether a person may give a role now, in a project or, without one, on the site."""
    if person_id is None:
        return False
    if project_id is not None:
        return role in roles.given_by(session, person_id, project_id)
    person = session.get(Person, person_id)
    return person is not None and person.active and person.role == "admin"


def revoke(session: Session, invitation: Invitation, by: uuid.UUID) -> None:
    """End an invitation; ending it twice changes nothing."""
    session.refresh(invitation, with_for_update=True)
    if invitation.revoked_at is None:
        invitation.revoked_at = now()
        session.flush()
        _tell(session, "revoked", invitation, by)


def opened(session: Session, token: str, place: str) -> Invitation:
    """The invitation of a token, locked until the transaction ends.

    Args:
        place: where it comes from; failures are counted by it.

    Raises:
        TooMany: too many that open nothing, from this place.
        Gone: it opens nothing, in the same words whatever the cause.
    """
    throttle.check_place(place)
    if not token:
        raise Gone(DEAD)
    found = session.scalar(
        select(Invitation).where(Invitation.token_hash == token_hash(token)).with_for_update()
    )
    if found is None or not is_open(session, found):
        throttle.count_place_failure(place)
        raise Gone(DEAD)
    return found


def is_open(session: Session, invitation: Invitation) -> bool:
    """Whether somebody may still come by it."""
    return (
        invitation.revoked_at is None
        and invitation.expires_at > now()
        and invitation.uses < invitation.uses_allowed
        and may_give(session, invitation.created_by, invitation.project_id, invitation.role)
    )


def register(
    session: Session, invitation: Invitation, email: str, name: str, password: str, place: str
) -> Person:
    """Make an account for who was invited, and let it in.

    An address that somebody has is refused in words that say nothing about whom it belongs to.

    Raises:
        Invalid: the address, the name or the password is not acceptable.
        Forbidden: no passwords here, or the invitation is for another address.
        TooMany: too many tries.
        Unauthorized: no account can be made of it.
    """
    if not get_settings().password_sign_in:
        raise Forbidden(_("Passwords are not taken here: sign in through the identity provider."))
    address = text.email(email)
    name = text.given_name(name)
    text.password(password)
    _check_address(invitation, address)
    throttle.count_attempt(address, place)
    try:
        person = actions.add_person(session, address, name, password=password)
    except Conflict:
        throttle.count_failure(address, place)
        raise Unauthorized(
            _("No account could be made with this address. If you have one here, sign in with it.")
        ) from None
    person.email_proven = False
    record(session, "person.registered", project_id=invitation.project_id, person=str(person.id))
    accept(session, invitation, person, new=True)
    return person


def accept(session: Session, invitation: Invitation, person: Person, *, new: bool = False) -> None:
    """Let somebody with an account in; who has as much already loses nothing, and nothing is used.

    Args:
        new: the account was made for it just now.

    Raises:
        Forbidden: the invitation is for another address.
        Conflict: they came by it before, and were taken out since.
    """
    _check_address(invitation, person.email)
    if not new and _has_as_much(session, invitation, person):
        return
    if session.get(InvitationUse, (invitation.id, person.id)) is not None:
        raise Conflict(
            _("You came by this invitation before, and it works once: ask for a new one.")
        )
    invitation.uses += 1
    session.add(InvitationUse(invitation_id=invitation.id, person_id=person.id))
    session.flush()
    _tell(session, "used", invitation, person.id, role=invitation.role)
    if invitation.project_id is None:
        if invitation.role == "admin":
            actions.change_person(session, person, role="admin")
        return
    project = session.get_one(Project, invitation.project_id)
    actions.add_member(session, project, person, invitation.role, invitation.created_by)


def _check_address(invitation: Invitation, address: str) -> None:
    if invitation.email is not None and invitation.email != address:
        raise Forbidden(_("This invitation is for another e-mail address."))


def _has_as_much(session: Session, invitation: Invitation, person: Person) -> bool:
    if invitation.project_id is None:
        return invitation.role == "member" or person.role == "admin"
    own = role_in(session, person.id, invitation.project_id)
    return roles.rank(own) >= roles.rank(invitation.role)


def invitation_of(
    session: Session, invitation_id: uuid.UUID, project_id: uuid.UUID | None
) -> Invitation:
    """An invitation into a project or, without one, any.

    Raises:
        NotFound: there is none.
    """
    found = session.get(Invitation, invitation_id)
    if found is None or project_id not in (None, found.project_id):
        raise NotFound(_("There is no such invitation."))
    return found


def _tell(
    session: Session,
    what: str,
    invitation: Invitation,
    by: uuid.UUID | None,
    **data: Any,
) -> None:
    record(
        session,
        f"invitation.{what}",
        project_id=invitation.project_id,
        person_id=by,
        invitation=str(invitation.id),
        **data,
    )
