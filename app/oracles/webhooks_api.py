"""HTTP calls of webhooks: add, list, remove, see deliveries, send again."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Db
from app.errors import Invalid, NotFound
from app.idempotency.route import Once, OnceRoute
from app.oracles import addresses, webhooks
from app.oracles.models import Delivery, Webhook
from app.oracles.schema import ADDRESS, callable_address
from app.paging import Paged
from app.people.access import Actor, CurrentActor, project_for
from app.storable import Words

router = APIRouter(tags=["webhooks"], route_class=OnceRoute)

Event = Literal[
    "round.labelling",
    "round.done",
    "round.failed",
    "batch.complete",
    "policy.published",
    "evaluation.opened",
    "evaluation.decided",
    "evaluation.closed",
    "evaluation.failed",
]


class WebhookIn(BaseModel):
    """Where to tell what. No events: all."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[
        Words,
        Field(max_length=2_000, json_schema_extra=ADDRESS),
        AfterValidator(callable_address),
    ]
    events: Annotated[list[Event], Field(max_length=len(webhooks.EVENTS))] = []


def webhook_view(webhook: Webhook) -> dict[str, Any]:
    """A webhook, without its secret."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "active": webhook.active,
        "created_at": webhook.created_at,
    }


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """One delivery and how it goes."""
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        "payload": delivery.payload,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at if delivery.state == "pending" else None,
        "status": delivery.status,
        "error": delivery.error,
        "delivered_at": delivery.delivered_at,
        "created_at": delivery.created_at,
    }


def _webhook(session: Session, actor: Actor, webhook_id: uuid.UUID) -> Webhook:
    webhook = session.get(Webhook, webhook_id)
    if webhook is None:
        raise NotFound("There is no such webhook.")
    project_for(session, actor, webhook.project_id, "manage")
    return webhook


@router.post("/projects/{project_id}/webhooks", status_code=201)
def add(
    project_id: uuid.UUID, body: WebhookIn, actor: CurrentActor, db: Db, _: Once
) -> dict[str, Any]:
    """Add a webhook; the answer is the only place where its `secret` is ever shown."""
    project_for(db, actor, project_id, "manage")
    problem = addresses.refusal(body.url)
    if problem:
        raise Invalid(f"url: {problem}", field="url")
    webhook, secret = webhooks.add(db, project_id, body.url, list(body.events))
    return {**webhook_view(webhook), "secret": secret}


@router.get("/projects/{project_id}/webhooks")
def listed(project_id: uuid.UUID, actor: CurrentActor, db: Db, page: Paged) -> dict[str, Any]:
    """The project's webhooks."""
    project_for(db, actor, project_id, "manage")
    query = select(Webhook).where(Webhook.project_id == project_id)
    return page.of(db, query, Webhook.id, webhook_view)


@router.delete("/webhooks/{webhook_id}", status_code=204)
def remove(webhook_id: uuid.UUID, actor: CurrentActor, db: Db) -> None:
    """Remove a webhook and what was to be sent to it."""
    db.delete(_webhook(db, actor, webhook_id))
    db.flush()


@router.get("/webhooks/{webhook_id}/deliveries")
def deliveries(
    webhook_id: uuid.UUID,
    actor: CurrentActor,
    db: Db,
    page: Paged,
    state: Annotated[
        Literal["pending", "delivered", "dead"] | None, Query(description="Only these.")
    ] = None,
) -> dict[str, Any]:
    """What was sent, what waits, what was given up (`state=dead`)."""
    webhook = _webhook(db, actor, webhook_id)
    query = select(Delivery).where(Delivery.webhook_id == webhook.id)
    if state is not None:
        query = query.where(Delivery.state == state)
    return page.of(db, query, Delivery.id, delivery_view)


@router.post("/deliveries/{delivery_id}/resend", status_code=202)
def resend(delivery_id: uuid.UUID, actor: CurrentActor, db: Db) -> dict[str, Any]:
    """Send a delivery again, one that was given up above all."""
    delivery = db.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None:
        raise NotFound("There is no such delivery.")
    _webhook(db, actor, delivery.webhook_id)
    webhooks.resend(db, delivery)
    return delivery_view(delivery)
