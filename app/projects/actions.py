"""What can be done to a project: create it, change it."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.language import _
from app.oracles import actions as oracles
from app.oracles.addresses import refusal
from app.people.models import Membership, Person
from app.policies.models import Policy
from app.projects import queries, schema
from app.projects.models import Project
from app.rounds.events import record
from app.settings import get_settings

# What the texts and the log-probs of existing pairs and policies rest on
FIXED_BY_PAIRS = ("source",)
FIXED_BY_MODEL_WORK = ("base_model", "chat", "system_prompt")


def create_project(session: Session, values: dict[str, Any], creator: Person | None) -> Project:
    """Create a project with its policy number 0 (π_0); the creator becomes its owner.

    Args:
        values: settings as in :class:`app.projects.schema.ProjectSettings`.

    Raises:
        Invalid: naming every field that cannot be taken.
    """
    settings = schema.checked(values).model_dump()
    _refuse_address(settings)
    if settings["judge"] is None:
        del settings["judge"]  # else stored as JSON's null, not as SQL's
    settings["base_model"] = settings["base_model"] or get_settings().default_base_model
    project = Project(**settings, created_by=creator.id if creator else None)
    session.add(project)
    session.flush()
    base = Policy(project_id=project.id, number=0, kind="base", base_model=project.base_model)
    session.add(base)
    session.flush()
    project.policy_id = base.id
    if creator is not None:
        session.add(Membership(project_id=project.id, person_id=creator.id, role="owner"))
    record(session, "project.created", project_id=project.id, person_id=project.created_by)
    session.flush()
    return project


def change_project(
    session: Session, project: Project, change: dict[str, Any], person_id: uuid.UUID | None
) -> Project:
    """Change what is given; what existing data rests on is fixed.

    Raises:
        Invalid: naming every field that cannot be taken.
        Conflict: a field that is fixed by now would change.
    """
    session.refresh(project, with_for_update={"key_share": True})
    archived = schema.archived(change)
    before = queries.settings_of(project)
    after = schema.changed(before, change).model_dump()
    after["base_model"] = after["base_model"] or get_settings().default_base_model
    different = sorted(name for name in after if after[name] != before[name])
    if "generation" in different:
        _refuse_address(after)
    _refuse_fixed(session, project, different)
    for name in different:
        setattr(project, name, after[name])
    if archived is not None and archived != project.archived:
        project.archived = archived
        kind = "project.archived" if archived else "project.unarchived"
        record(session, kind, project_id=project.id, person_id=person_id)
    if "base_model" in different:
        base = (Policy.project_id == project.id) & (Policy.kind == "base")
        session.execute(update(Policy).where(base).values(base_model=project.base_model))
    session.flush()
    if "paused" in different and not project.paused:
        oracles.wake_in(session, project.id)
    told: dict[str, Any] = {"paused": project.paused} if "paused" in different else {}
    if different:
        record(
            session,
            "project.changed",
            project_id=project.id,
            person_id=person_id,
            fields=different,
            **told,
        )
    return project


def _refuse_address(settings: dict[str, Any]) -> None:
    engine = settings["generation"]["engine"]
    why = refusal(engine["base_url"]) if engine else None
    if why is not None:
        field = "generation.engine.base_url"
        raise Invalid(": ".join((field, why)), errors=[{"field": field, "message": why}])


def _refuse_fixed(session: Session, project: Project, different: list[str]) -> None:
    of_pairs = [name for name in FIXED_BY_PAIRS if name in different]
    if of_pairs and queries.has_pairs(session, project.id):
        raise Conflict(
            _("%(of_pairs)s: fixed since the project has pairs.", of_pairs=", ".join(of_pairs))
        )
    of_work = [name for name in FIXED_BY_MODEL_WORK if name in different]
    if of_work and queries.has_model_work(session, project.id):
        raise Conflict(
            _(
                "%(of_work)s: fixed since the base model wrote or scored pairs; create another "
                "project.",
                of_work=", ".join(of_work),
            )
        )
