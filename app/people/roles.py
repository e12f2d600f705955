"""The order of roles, and that nobody gives more than they have."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from app.errors import Forbidden
from app.language import _
from app.people.access import role_in
from app.people.models import PROJECT_ROLES, Person

ORDER = PROJECT_ROLES[::-1]
"""Of a project, the least first."""


def rank(role: str | None) -> int:
    """How much a role is; -1 of none."""
    return -1 if role is None else ORDER.index(role)


def given_by(session: Session, person_id: uuid.UUID, project_id: uuid.UUID) -> tuple[str, ...]:
    """The roles that a person may give in a project: up to their own, for who manages it."""
    person = session.get(Person, person_id)
    if person is None or not person.active:
        return ()
    own = "owner" if person.role == "admin" else role_in(session, person_id, project_id)
    return ORDER[: rank(own) + 1] if own in ("owner", "admin") else ()


def check_gives(session: Session, by: uuid.UUID | None, project_id: uuid.UUID, role: str) -> None:
    """Raise :class:`Forbidden` where ``by`` (None: the program itself) may not give ``role``."""
    if by is not None and role not in given_by(session, by, project_id):
        raise Forbidden(
            _(
                "The role %(role)s is not yours to give or to take: it is more than yours.",
                role=role,
            )
        )
