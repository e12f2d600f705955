"""Setting a person's labels aside in a project, and taking them back. Callers commit."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.errors import Invalid, NotFound
from app.labelling.models import Preference
from app.language import _
from app.people.models import held_roles
from app.projects.models import Project
from app.quality.models import SetAside
from app.rounds import queries as rounds
from app.rounds.events import record

LONGEST_REASON = 1_000


def set_aside(
    session: Session, project: Project, person_id: uuid.UUID, reason: str, by: uuid.UUID | None
) -> SetAside:
    """Leave a person's labels out of exports and of every training from now on.

    What a past round trained on stays as it was fixed, and the answers themselves are kept.

    Raises:
        Invalid: no reason.
        NotFound: nobody who labels, or has labelled, in the project.
    """
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise Invalid(
            _(
                "reason: between 1 and %(longest_reason)s characters.",
                longest_reason=LONGEST_REASON,
            ),
            field="reason",
        )
    rounds.lock_project(session, project.id)
    if not _labels_here(session, project.id, person_id):
        raise NotFound(_("There is nobody of that id who labels in this project."))
    aside = session.get(SetAside, (project.id, person_id))
    if aside is None:
        aside = SetAside(project_id=project.id, person_id=person_id, reason=reason)
        session.add(aside)
    aside.reason, aside.set_by = reason, by
    session.flush()
    _tell(session, "labels.set_aside", project.id, person_id, by, reason=reason)
    return aside


def take_back(
    session: Session, project: Project, person_id: uuid.UUID, by: uuid.UUID | None
) -> None:
    """Let a person's labels count again, from the next training and export on.

    Where they are not set aside nothing happens.
    """
    rounds.lock_project(session, project.id)
    aside = session.get(SetAside, (project.id, person_id))
    if aside is None:
        return
    session.delete(aside)
    session.flush()
    _tell(session, "labels.taken_back", project.id, person_id, by)


def _tell(
    session: Session,
    kind: str,
    project_id: uuid.UUID,
    whose: uuid.UUID,
    by: uuid.UUID | None,
    **data: Any,
) -> None:
    record(session, kind, project_id=project_id, person_id=by, annotator=str(whose), **data)


def _labels_here(session: Session, project_id: uuid.UUID, person_id: uuid.UUID) -> bool:
    held = held_roles()
    member = exists().where(held.c.project_id == project_id, held.c.person_id == person_id)
    labelled = exists().where(
        Preference.project_id == project_id, Preference.person_id == person_id
    )
    return bool(session.scalar(select(member | labelled)))
