"""What is shown of invitations, and the queries behind it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.people import invitations
from app.people.access import now
from app.people.models import Invitation, InvitationUse, Person


@dataclass(frozen=True)
class Listed:
    """An invitation with who made it and who came by it, oldest first.

    ``state``: open, used (up), expired, revoked, or void: its maker may not give the role any more.
    """

    invitation: Invitation
    state: str
    by: Person | None
    used_by: Sequence[Person]

    def view(self) -> dict[str, Any]:
        """As JSON; the token is known to nobody."""
        one = self.invitation
        return {
            "id": one.id,
            "project": one.project_id,
            "role": one.role,
            "email": one.email,
            "state": self.state,
            "uses": one.uses,
            "uses_allowed": one.uses_allowed,
            "expires_at": one.expires_at,
            "revoked_at": one.revoked_at,
            "created_at": one.created_at,
            "created_by": one.created_by,
            "used_by": [{"person": who.id, "email": who.email} for who in self.used_by],
        }


def state_of(session: Session, invitation: Invitation) -> str:
    """One of the states of :class:`Listed`."""
    if invitation.revoked_at is not None:
        return "revoked"
    if invitation.uses >= invitation.uses_allowed:
        return "used"
    if invitation.expires_at <= now():
        return "expired"
    return "open" if invitations.is_open(session, invitation) else "void"


def into(project_id: uuid.UUID | None) -> Select[Invitation]:
    """The invitations into a project; None: those into the site."""
    return select(Invitation).where(
        Invitation.project_id == project_id if project_id else Invitation.project_id.is_(None)
    )


def listed(session: Session, found: Sequence[Invitation]) -> list[Listed]:
    """Invitations with all that is shown of them."""
    came: dict[uuid.UUID, list[Person]] = defaultdict(list)
    uses = (
        select(InvitationUse.invitation_id, Person)
        .join(Person, Person.id == InvitationUse.person_id)
        .where(InvitationUse.invitation_id.in_([one.id for one in found]))
        .order_by(InvitationUse.created_at)
    )
    for invitation_id, person in session.execute(uses):
        came[invitation_id].append(person)
    return [
        Listed(
            one,
            state_of(session, one),
            session.get(Person, one.created_by) if one.created_by else None,
            came[one.id],
        )
        for one in found
    ]
