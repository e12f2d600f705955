"""How many requests may be under way: fewer where the endpoint says that it is too much."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

CALM_SECONDS = 1.0
"""Refusals this close to each other are one: they were all sent before the first was heard."""


class Gate:
    """At most ``most`` at a time: halved by a refusal, grown by one for each round that went well.

    Use it as an asynchronous context for one request, in one event loop.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self._inside = 0
        self._closed_until = 0.0
        self._slowed_at = -CALM_SECONDS
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._inside < max(1, int(self.limit)))
                wait = self._closed_until - time.monotonic()
                if wait <= 0:
                    self._inside += 1
                    return
            await asyncio.sleep(wait)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # no await before the count: a cancelled request must not keep its place
        self._inside -= 1
        async with self._changed:
            self._changed.notify_all()

    def slow_down(self, seconds: float) -> None:
        """The endpoint refused: nothing is sent for ``seconds``, and half as much at a time."""
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + seconds)
        if now - self._slowed_at >= CALM_SECONDS:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)

    def went_well(self) -> None:
        """One request was answered."""
        self.limit = min(float(self.most), self.limit + 1 / max(1.0, self.limit))
