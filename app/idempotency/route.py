"""The ``Idempotency-Key`` of a call: a route class and a dependency, which go together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.database import Db
from app.idempotency import actions
from app.people.access import Actor, CurrentActor

REPLAYED = "Idempotency-Replayed"
LONGEST = 255

Key = Annotated[
    str | None,
    Header(
        alias=actions.HEADER,
        min_length=1,
        max_length=LONGEST,
        pattern="^[!-~]+$",
        description="Any name of your own for this call, such as a UUID. Sent again with the same "
        "key within 24 hours, it is not done twice: the first answer is given again, with "
        f"`{REPLAYED}: true`. The same key with another request: 422. While the first is under "
        "way: 409 with `Retry-After`. A call that was refused may be sent again with its key.",
    ),
]


class ReplayError(Exception):
    """The call was answered before: this is its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.response = Response(
            body, status, headers={REPLAYED: "true"}, media_type="application/json"
        )


class OnceCall:
    """A call that named a key: looks for its answer and keeps it."""

    def __init__(self, asked: actions.Asked, session: Session) -> None:
        self.asked, self.session, self.settled = asked, session, False

    def begin(self, session: Session) -> None:
        """Lock the key.

        Raises:
            ReplayError: the call was answered before.
            Conflict, Invalid: as of :func:`app.idempotency.actions.answer_to`.
        """
        found = actions.answer_to(session, self.asked)
        if found is not None:
            raise ReplayError(*found)

    def settle(self, session: Session, view: Any) -> None:
        """For calls with transactions of their own: keep ``view``; None: nothing was done."""
        self.settled = True
        if view is not None:
            actions.keep(session, self.asked, 200, to_json(view))

    def keep(self, response: Response) -> None:
        """Keep a response in the transaction of the request, before it commits."""
        if not self.settled:
            actions.keep(self.session, self.asked, response.status_code, bytes(response.body))


async def _once(request: Request, actor: CurrentActor, db: Db, key: Key = None) -> OnceCall | None:
    if key is None:  # as most calls are: without a way to another thread and back
        return None
    return await run_in_threadpool(_begun, request, actor, db, key)


def _begun(request: Request, actor: Actor, db: Session, key: str) -> OnceCall:
    caller = actor.key.id if actor.key is not None else actor.person.id
    asked = actions.Asked(caller, actor.person.id, key, _fingerprint(request))
    call = OnceCall(asked, db)
    call.begin(db)
    request.state.once = call
    return call


Once = Annotated[OnceCall | None, Depends(_once, scope="function")]
"""Last of a route's parameters, so that the body has been read. Needs :class:`OnceRoute`."""


class OnceRoute(APIRoute):
    """A route whose answer is kept for calls that name an ``Idempotency-Key``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, and around it what repeats an answer or keeps it."""
        plain = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await plain(request)
            except ReplayError as replay:
                return replay.response
            call: OnceCall | None = getattr(request.state, "once", None)
            if call is not None:
                await run_in_threadpool(call.keep, response)
            return response

        return handler


def _fingerprint(request: Request) -> str:
    asked = hashlib.sha256()
    for part in (request.method, request.url.path, request.url.query):
        asked.update(part.encode() + b"\0")
    # of a form the file alone: its boundary is another one each time
    body = getattr(request.state, "file_digest", None) or request.state.body_digest.hexdigest()
    return hashlib.sha256(asked.digest() + body.encode()).hexdigest()
