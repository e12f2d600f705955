"""SQL of what went wrong and is not over: rounds, attempts, oracles, webhooks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.evaluations.models import Evaluation
from app.language import _, stored
from app.oracles.models import Delivery, Oracle, Webhook
from app.projects.models import Project
from app.rounds.models import Event, Round, Run
from app.rounds.story import STAGE_WORDS

ORACLE_TROUBLE = ("oracle.waiting", "oracle.stopped")


@dataclass(frozen=True)
class Fault:
    """Something that went wrong, and the page that says more; ``at`` in the database's time."""

    at: dt.datetime | None
    what: str
    project: str
    message: str
    href: str


def faults(session: Session, limit: int) -> list[Fault]:
    """What went wrong last and is not over: rounds, attempts, oracles, deliveries."""
    found = [
        fault for source in (_rounds, _evaluations, _attempts, _oracles, _deliveries)
        for fault in source(session, limit)
    ]  # fmt: skip
    oldest = dt.datetime.min.replace(tzinfo=dt.UTC)
    return sorted(found, key=lambda fault: fault.at or oldest, reverse=True)[:limit]


def _rounds(session: Session, limit: int) -> Iterator[Fault]:
    rows = session.execute(
        select(Round, Project.name)
        .join(Project, Project.id == Round.project_id)
        .where(Round.state == "failed")
        .order_by(Round.updated_at.desc(), Round.id)
        .limit(limit)
    )
    for round, project in rows:
        stage = stored(round.failed_stage or "queued")
        what = _("Round %(number)s failed: %(stage)s", number=str(round.number), stage=stage)
        yield Fault(round.updated_at, what, project, round.error or "", f"/rounds/{round.id}")


def _evaluations(session: Session, limit: int) -> Iterator[Fault]:
    rows = session.execute(
        select(Evaluation, Project.name)
        .join(Project, Project.id == Evaluation.project_id)
        .where(Evaluation.state == "failed")
        .order_by(Evaluation.created_at.desc(), Evaluation.id)
        .limit(limit)
    )
    for one, project in rows:
        what = _(
            "Evaluation %(number)s failed while its completions were written",
            number=str(one.number),
        )
        yield Fault(one.created_at, what, project, one.error or "", f"/evaluations/{one.id}")


def _attempts(session: Session, limit: int) -> Iterator[Fault]:
    rows = session.execute(
        select(Run, Project.name, func.coalesce(Round.number, Evaluation.number))
        .join(Project, Project.id == Run.project_id)
        .outerjoin(Round, Round.id == Run.round_id)
        .outerjoin(Evaluation, Evaluation.id == Run.evaluation_id)
        .where(Run.state == "queued", Run.error.is_not(None), Run.trial_id.is_(None))
        .order_by(Run.started_at.desc(), Run.id)
        .limit(limit)
    )
    for run, project, number in rows:
        words = {"number": str(number), "kind": STAGE_WORDS.get(run.kind, run.kind)}
        what = (
            _(
                "Evaluation %(number)s, %(kind)s: attempt %(attempt)s ended, another follows",
                attempt=run.attempt,
                **words,
            )
            if run.evaluation_id is not None
            else _(
                "Round %(number)s, %(kind)s: attempt %(attempt)s ended, another follows",
                attempt=run.attempt,
                **words,
            )
        )
        href = f"/evaluations/{run.owner_id}" if run.evaluation_id else f"/rounds/{run.owner_id}"
        yield Fault(run.started_at, what, project, run.error or "", href)


def _oracles(session: Session, limit: int) -> Iterator[Fault]:
    last = (
        select(func.max(Event.created_at))
        .where(Event.project_id == Oracle.project_id, Event.kind.in_(ORACLE_TROUBLE))
        .correlate(Oracle)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Oracle, Project.name, last)
        .join(Project, Project.id == Oracle.project_id)
        .where(Oracle.state.in_(("waiting", "stopped")), Oracle.error.is_not(None))
        .order_by(Oracle.id.desc())
        .limit(limit)
    )
    for oracle, project, at in rows:
        stopped = _("The oracle (%(kind)s) has stopped", kind=oracle.kind)
        trying = _("The oracle (%(kind)s) is in trouble and tries again", kind=oracle.kind)
        what = stopped if oracle.state == "stopped" else trying
        href = f"/projects/{oracle.project_id}/oracle"
        yield Fault(at, what, project, oracle.error or "", href)


def _deliveries(session: Session, limit: int) -> Iterator[Fault]:
    rows = session.execute(
        select(Delivery, Project.name)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .join(Project, Project.id == Webhook.project_id)
        .where(Delivery.state != "delivered", Delivery.error.is_not(None))
        .order_by(Delivery.created_at.desc(), Delivery.id)
        .limit(limit)
    )
    for delivery, project in rows:
        told = {"kind": delivery.kind, "n": delivery.attempts}
        given_up = _("Webhook: %(kind)s is given up after %(n)s tries", **told)
        again = _("Webhook: %(kind)s is tried again after %(n)s tries", **told)
        what = given_up if delivery.state == "dead" else again
        href = f"/api/v1/webhooks/{delivery.webhook_id}/deliveries"
        yield Fault(delivery.created_at, what, project, delivery.error or "", href)
