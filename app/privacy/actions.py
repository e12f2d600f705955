"""Deleting a person: what goes, and what stays without a name. Callers commit."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Sequence, case, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.evaluations.models import OPEN, Evaluation
from app.idempotency.models import KeptAnswer
from app.labelling import actions as labelling
from app.labelling.models import Claim, Preference, PreferenceVersion
from app.language import _
from app.oracles.models import Oracle
from app.people.actions import change_person
from app.people.models import (
    ApiKey,
    GroupMember,
    Identity,
    Invitation,
    Membership,
    PasswordLink,
    Person,
    RecoveryCode,
    SecondFactor,
    SignIn,
    held_roles,
)
from app.projects.models import Project
from app.quality.models import SetAside
from app.rounds.events import record
from app.rounds.models import Event, TrainingLabel

Labels = Literal["keep", "remove"]
NUMBERS = Sequence("deleted_people")
OF_A_PERSON = (
    SignIn,
    ApiKey,
    SecondFactor,
    RecoveryCode,
    PasswordLink,
    Identity,
    Membership,
    GroupMember,
    KeptAnswer,
)
ASIDE = "The person was deleted and wished their labels to be left out."


@dataclass(frozen=True)
class Deleted:
    """What became of a person.

    Attributes:
        name: what stands where their name stood.
        removed: preferences that were taken out.
        kept: preferences that stay, under ``name``.
    """

    id: uuid.UUID
    name: str
    removed: int
    kept: int

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {"id": self.id, "name": self.name, "removed": self.removed, "kept": self.kept}


# Of what was said to a project's questions only what was chosen of a list stays.
_CHOSEN = """
    SET answers = (
        SELECT jsonb_object_agg(said.key, said.value) FROM jsonb_each(t.answers) said
        WHERE said.key IN (
            SELECT q->>'name' FROM jsonb_array_elements(projects.questions) q
            WHERE q->>'kind' <> 'text'))
"""
_ANSWERS_OF_LABELS = text(
    f"UPDATE preferences t {_CHOSEN} FROM projects WHERE projects.id = t.project_id"
    " AND t.person_id = :person AND jsonb_typeof(t.answers) = 'object'"
)
_ANSWERS_OF_VERSIONS = text(
    f"UPDATE preference_versions t {_CHOSEN} FROM preferences p JOIN projects"
    " ON projects.id = p.project_id WHERE p.id = t.preference_id AND p.person_id = :person"
    " AND jsonb_typeof(t.answers) = 'object'"
)


def delete_person(
    session: Session, person: Person, labels: Labels, by: uuid.UUID | None
) -> Deleted:
    """Forget who a person is; for good.

    Account, sessions, keys and memberships go, and every free text of theirs (rationales, reasons
    of skips). Their choices stay under "deleted person N"; with ``labels`` "remove" those that no
    round has trained on are taken out, and those that one has are left out of exports and of
    every later training, since a trained round keeps what it was trained on.

    Raises:
        Conflict: deleted already; the only admin, the only owner of a project, or an oracle's
            account.
    """
    session.refresh(person, with_for_update=True)
    _may_go(session, person)
    projects = _projects(session, person.id)
    change_person(session, person, role="member", active=False)
    session.execute(
        update(Invitation)
        .where(Invitation.email == person.email)
        .values(email=None, revoked_at=func.coalesce(Invitation.revoked_at, func.now()))
    )
    session.execute(
        update(Claim)
        .where(Claim.person_id == person.id, Claim.state == "live")
        .values(state="released")
    )
    removed = _remove(session, person.id) if labels == "remove" else 0
    kept = _strip(session, person.id)
    if labels == "remove":
        _set_aside(session, person.id, by)
    for table in OF_A_PERSON:
        session.execute(delete(table).where(table.person_id == person.id))
    number = session.scalar(NUMBERS)
    person.name, person.email = f"deleted person {number}", f"deleted-{number}@deleted.invalid"
    person.password_hash, person.language, person.deleted_at = None, None, func.now()
    person.shortcuts = None
    session.flush()
    for project in [None, *projects]:
        record(session, "person.deleted", project_id=project, person_id=by, person=str(person.id))
    session.flush()
    return Deleted(person.id, person.name, removed, kept)


def _may_go(session: Session, person: Person) -> None:
    if person.deleted_at is not None:
        raise Conflict(_("This person is deleted already."))
    oracle = select(Oracle.id).where(Oracle.person_id == person.id, Oracle.state != "detached")
    if session.scalar(oracle.limit(1)) is not None:
        raise Conflict(_("This is an oracle's account: detach the oracle first."))
    owners = func.count(case((Membership.role == "owner", 1)))
    own = select(Membership.project_id).where(
        Membership.person_id == person.id, Membership.role == "owner"
    )
    alone = session.scalars(
        select(Project.name)
        .join(Membership, Membership.project_id == Project.id)
        .where(Project.id.in_(own))
        .group_by(Project.id)
        .having(owners < 2)
    ).all()
    if alone:
        raise Conflict(
            _(
                "This is the only owner of %(alone)s: make somebody else owner first.",
                alone=", ".join(sorted(alone)),
            )
        )


def _projects(session: Session, person_id: uuid.UUID) -> list[uuid.UUID]:
    held = held_roles()
    member = select(held.c.project_id).where(held.c.person_id == person_id)
    labelled = select(Preference.project_id).where(Preference.person_id == person_id)
    return sorted(session.scalars(member.union(labelled)))


def _remove(session: Session, person_id: uuid.UUID) -> int:
    """Take out what no training rests on; open batches ask others for those pairs."""
    mine = Preference.person_id == person_id
    trained = select(TrainingLabel.preference_id).where(
        TrainingLabel.preference_id == Preference.id
    )
    asking = select(Evaluation.id).where(Evaluation.state == OPEN)
    open_ones = session.scalars(
        select(Preference.id)
        .where(
            mine,
            Preference.deleted_at.is_(None),
            Preference.frozen_in.is_(None),
            Preference.claim_id.is_not(None),
            Preference.choice != "skip",
            Preference.evaluation_id.is_(None) | Preference.evaluation_id.in_(asking),
        )
        # the order in which everybody locks: rounds by id, in them pairs by id
        .order_by(Preference.round_id, Preference.pair_id)
    ).all()
    for preference_id in open_ones:
        labelling.withdraw(session, preference_id, person_id)
    session.flush()
    gone = session.scalars(
        delete(Preference)
        .where(mine, Preference.choice != "skip", ~trained.exists())
        .returning(Preference.claim_id)
    ).all()
    session.execute(delete(Claim).where(Claim.id.in_([claim for claim in gone if claim])))
    return len(gone)


def _strip(session: Session, person_id: uuid.UUID) -> int:
    """Take the person's own words out of what stays; how many preferences that is."""
    kept = select(Preference.id).where(Preference.person_id == person_id)
    session.execute(
        update(Preference)
        .where(Preference.person_id == person_id)
        .values(rationale=None, reason=None)
    )
    session.execute(
        update(PreferenceVersion)
        .where(PreferenceVersion.preference_id.in_(kept))
        .values(rationale=None, reason=None)
    )
    session.execute(_ANSWERS_OF_LABELS, {"person": person_id})
    session.execute(_ANSWERS_OF_VERSIONS, {"person": person_id})
    session.execute(
        update(SetAside).where(SetAside.person_id == person_id).values(reason="deleted person")
    )
    session.execute(
        update(Event)
        .where(Event.data["annotator"].as_string() == str(person_id), Event.data.has_key("reason"))
        .values(data=Event.data.op("-", return_type=JSONB)("reason"))
    )
    standing = select(func.count()).where(
        Preference.person_id == person_id, Preference.deleted_at.is_(None)
    )
    return session.scalar(standing) or 0


def _set_aside(session: Session, person_id: uuid.UUID, by: uuid.UUID | None) -> None:
    left = session.scalars(
        select(Preference.project_id).where(Preference.person_id == person_id).distinct()
    ).all()
    for project_id in left:
        session.execute(
            insert(SetAside)
            .values(project_id=project_id, person_id=person_id, reason=ASIDE, set_by=by)
            .on_conflict_do_nothing()
        )
