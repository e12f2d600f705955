"""Holding on to a claim while its pair is being read."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from app.errors import Conflict, Gone, NotFound
from app.labelling import queries, slots, withheld
from app.labelling.models import Claim
from app.language import _
from app.projects.models import Project


def renew(session: Session, project: Project, claim_id: uuid.UUID, person_id: uuid.UUID) -> Claim:
    """Hold a claim as long again from now on; one that lapsed is taken up again if it is free.

    Raises:
        NotFound: no such claim, or somebody else's.
        Conflict: the pair is answered already.
        Gone: it came too late: the pair is with somebody else, withheld, or its batch is over.
    """
    if not queries.extend_claim(session, claim_id, person_id, slots.claim_seconds(project)):
        _take_up_again(session, claim_id, person_id)
    claim = queries.claim_of(session, claim_id, person_id)
    if claim is None:
        raise NotFound(_("There is no such claim of yours."))
    return claim


def _take_up_again(session: Session, claim_id: uuid.UUID, person_id: uuid.UUID) -> None:
    place = slots.lock(session, claim_id, person_id)
    standing = queries.preference_on(session, place.pair.id, person_id)
    if standing is not None:
        raise Conflict(_("You have answered this pair already."), preference=str(standing.id))
    if place.late:
        raise Gone(
            _("The evaluation of this pair is over.")
            if place.evaluation is not None
            else _("The batch of this pair is over.")
        )
    if withheld.is_withheld(session, place.pair.id):
        raise Gone(_("This pair was flagged as personal data and is not shown any more."))
    slots.retake(session, place)
