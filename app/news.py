"""Which rounds changed, told to every web process through Redis once the change is committed.

A message carries no truth, only the id of what to look at in Postgres: any number may arrive, none
may arrive. Whoever watches looks again at what it hears of, now and then without hearing anything,
and as often as it can bear where Redis is away.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache

import redis
import redis.asyncio
import structlog
from anyio.lowlevel import RunVar
from sqlalchemy.orm import Session

from app.leaving import leaving
from app.settings import get_settings

log = structlog.get_logger()

CHANNEL = "activedpo:changed"
PATIENCE_SECONDS = 1.0
QUIET_SECONDS = 5.0
"""How long nothing is told after Redis did not answer: no request waits for it again and again."""
LOOK_ANYWAY_SECONDS = 10.0
LEAVING_SECONDS = 1.0
"""How soon whoever listens notices that the process is about to end."""
ASK_SECONDS = 15.0
"""Of silence, after which the connection is tried: a host that was cut off says no goodbye."""

_told_nobody_at = float("-inf")


def note(session: Session, changed: uuid.UUID) -> None:
    """Tell of ``changed`` once this session's transaction has committed."""
    session.info.setdefault("news", set()).add(changed)


def take(session: Session) -> set[uuid.UUID]:
    """What is to be told of this session, which forgets it."""
    news: set[uuid.UUID] = session.info.pop("news", set())
    return news


@lru_cache
def _teller(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
    )


def tell(news: set[uuid.UUID]) -> None:
    """Publish; where Redis is out of reach, those who watch look by themselves."""
    global _told_nobody_at
    url = get_settings().redis_url
    if not news or url is None or time.monotonic() < _told_nobody_at + QUIET_SECONDS:
        return
    try:
        for changed in news:
            _teller(url).publish(CHANNEL, str(changed))
    except (redis.RedisError, OSError) as error:
        _told_nobody_at = time.monotonic()
        log.warning("news_not_told", error=type(error).__name__)


class Ear:
    """Hears of one thing; made by :func:`listening`."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._heard = asyncio.Event()

    def forget(self) -> None:
        """What was heard so far is about to be looked at."""
        self._heard.clear()

    def hear(self) -> None:
        self._heard.set()

    async def wait(self) -> None:
        """Until there is reason to look: something was heard, nothing can be, or it is time."""
        ends = time.monotonic() + LOOK_ANYWAY_SECONDS
        while self._listener.hears and not leaving.is_set() and time.monotonic() < ends:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), LEAVING_SECONDS)
                return


class _Listener:
    """One subscription for all that is watched in an event loop."""

    def __init__(self) -> None:
        self.ears: dict[uuid.UUID, set[Ear]] = {}
        self.hears = False
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        url = get_settings().redis_url
        while url is not None:
            try:
                await self._subscribed(url)
            except (redis.RedisError, OSError) as error:
                if self.hears:
                    log.warning("news_not_heard", error=type(error).__name__)
            self._look_all(hears=False)
            await asyncio.sleep(PATIENCE_SECONDS)

    async def _subscribed(self, url: str) -> None:
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=PATIENCE_SECONDS)
        async with client, client.pubsub() as channel:
            await channel.subscribe(CHANNEL)
            while True:
                message = await channel.get_message(timeout=ASK_SECONDS)
                if message is None:
                    await channel.ping()
                elif message["type"] == "subscribe":
                    self._look_all(hears=True)
                elif message["type"] == "message":
                    self._pass_on(message["data"])

    def _pass_on(self, said: bytes) -> None:
        with suppress(ValueError):
            for ear in self.ears.get(uuid.UUID(said.decode()), ()):
                ear.hear()

    def _look_all(self, *, hears: bool) -> None:
        """What was said meanwhile, nobody here has heard."""
        self.hears = hears
        for ears in self.ears.values():
            for ear in ears:
                ear.hear()


_here: RunVar[_Listener | None] = RunVar("activedpo_news")


@asynccontextmanager
async def listening(about: uuid.UUID) -> AsyncIterator[Ear]:
    """Hear of ``about`` from now on. The last to leave ends the event loop's subscription."""
    listener = _here.get(None)
    if listener is None:
        listener = _Listener()
        _here.set(listener)
    ear = Ear(listener)
    listener.ears.setdefault(about, set()).add(ear)
    try:
        yield ear
    finally:
        listener.ears[about].discard(ear)
        if not listener.ears[about]:
            del listener.ears[about]
        if not listener.ears:
            listener.task.cancel()
            _here.set(None)
