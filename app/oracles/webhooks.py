"""Telling others what happened: webhooks by the Standard Webhooks scheme.

A delivery is a row, written in the transaction of its event; a Celery message is only the bell.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import secrets
import uuid
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from app import jobs
from app.errors import Conflict
from app.language import _
from app.oracles.models import Delivery, Webhook
from app.sealed import seal

EVENTS = (
    "round.labelling",
    "round.done",
    "round.failed",
    "batch.complete",
    "policy.published",
    "evaluation.opened",
    "evaluation.decided",
    "evaluation.closed",
    "evaluation.failed",
)
WAKE = "activedpo.webhooks"
SECRET_START = "whsec_"  # noqa: S105  (the scheme's mark, no secret)
BACKOFF = (5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 86_400)
"""Seconds before each further try; after the last one the delivery is dead."""

HELD_SECONDS = 120
"""How long a taken delivery is nobody else's: a worker that dies costs this."""


def add(
    session: Session, project_id: uuid.UUID, url: str, events: list[str]
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown this once."""
    secret = SECRET_START + base64.b64encode(secrets.token_bytes(32)).decode()
    webhook = Webhook(project_id=project_id, url=url, events=events, secret=seal(secret))
    session.add(webhook)
    session.flush()
    return webhook, secret


def announce(
    session: Session, kind: str, project_id: uuid.UUID | None, data: dict[str, Any]
) -> None:
    """Plan the deliveries of an event to every webhook of its project that wants it."""
    if kind not in EVENTS or project_id is None:
        return
    wanted = or_(Webhook.events == [], Webhook.events.contains([kind]))
    hooks = session.scalars(
        select(Webhook.id).where(Webhook.project_id == project_id, Webhook.active, wanted)
    ).all()
    for webhook_id in hooks:
        payload = {
            "type": kind,
            "timestamp": dt.datetime.now(dt.UTC).isoformat(),
            "data": {"project": str(project_id), **data},
        }
        session.add(Delivery(webhook_id=webhook_id, kind=kind, payload=payload))
    if hooks:
        jobs.ring(session, WAKE, queue="default")


def resend(session: Session, delivery: Delivery) -> None:
    """Send a delivery again, from the first try.

    Raises:
        Conflict: it is on its way already.
    """
    if delivery.state == "pending":
        raise Conflict(_("This delivery is on its way: see next_at."))
    delivery.state, delivery.attempts = "pending", 0
    delivery.next_at, delivery.error = func.now(), None
    session.flush()
    session.refresh(delivery)
    jobs.ring(session, WAKE, queue="default")


def take_due(session: Session, most: int) -> list[tuple[Delivery, Webhook]]:
    """Deliveries whose time has come, held for a while by pushing that time on."""
    due = session.execute(
        select(Delivery, Webhook)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.state == "pending", Delivery.next_at <= func.clock_timestamp())
        .order_by(Delivery.next_at)
        .limit(most)
        .with_for_update(of=Delivery, skip_locked=True)
    ).all()
    for delivery, __ in due:
        delivery.attempts += 1
        delivery.next_at = func.clock_timestamp() + dt.timedelta(seconds=HELD_SECONDS)
    session.flush()
    return [(delivery, webhook) for delivery, webhook in due]


def any_due(session: Session) -> bool:
    """Whether some delivery's time has come."""
    query = select(Delivery.id).where(Delivery.state == "pending", Delivery.next_at <= func.now())
    return session.scalar(query.limit(1)) is not None


def settle(
    session: Session, delivery_id: uuid.UUID, attempt: int, status: int | None, error: str | None
) -> None:
    """Write down how one try went: delivered, to be tried again, or dead."""
    delivery = session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None or delivery.state != "pending" or delivery.attempts != attempt:
        return
    delivery.status, delivery.error = status, error
    if error is None:
        delivery.state, delivery.delivered_at = "delivered", func.now()
    elif status == 410:  # the scheme's word for: no more
        delivery.state = "dead"
        session.get_one(Webhook, delivery.webhook_id).active = False
    elif attempt > len(BACKOFF):
        delivery.state = "dead"
    else:
        pause = dt.timedelta(seconds=BACKOFF[attempt - 1])
        delivery.next_at = func.clock_timestamp() + pause
    session.flush()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: v1, HMAC-SHA256 of "id.timestamp.body"."""
    key = base64.b64decode(secret.removeprefix(SECRET_START))
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def forget_old(session: Session, days: int = 30) -> None:
    """Remove deliveries that are over for so long."""
    session.execute(
        text(
            "DELETE FROM deliveries WHERE state <> 'pending' "
            "AND created_at < now() - make_interval(days => :days)"
        ),
        {"days": days},
    )
