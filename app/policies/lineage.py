"""Which policy came from which."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.policies.models import Policy


def newest_policies(session: Session, project_id: uuid.UUID, limit: int) -> list[Policy]:
    """The policies of a project, the newest first."""
    query = select(Policy).where(Policy.project_id == project_id)
    return list(session.scalars(query.order_by(Policy.number.desc()).limit(limit)))


def lineage(session: Session, policy: Policy) -> list[Policy]:
    """The policy and what it came from, from π_0 on."""
    line = select(Policy.id, Policy.parent_id).where(Policy.id == policy.id).cte(recursive=True)
    parent = aliased(Policy)
    line = line.union(select(parent.id, parent.parent_id).join(line, parent.id == line.c.parent_id))
    query = select(Policy).where(Policy.id.in_(select(line.c.id)))
    found = list(session.scalars(query.order_by(Policy.number)))
    if found and found[0].kind != "base":
        base = session.scalar(
            select(Policy).where(Policy.project_id == policy.project_id, Policy.number == 0)
        )
        found = [base, *found] if base is not None else found
    return found
