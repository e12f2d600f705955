"""How many requests may be under way: fewer where the endpoint says that it is too much."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import TracebackType

CALM_SECONDS = 1.0
"""Refusals this close to each other are one: they were all sent before the first was heard."""


class Gate:
    """At most ``most`` at a time: halved by a refusal, grown by one for each round that went well.

    Use it as an asynchronous context for one request, in one event loop. Who leaves hands the
    place to the one who has waited longest, and wakes nobody else.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self._inside = 0
        self._closed_until = 0.0
        self._slowed_at = -CALM_SECONDS
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while True:
            await self._place()
            wait = self._closed_until - time.monotonic()
            if wait <= 0 and self._inside <= self._room():
                return
            self._leave()
            await asyncio.sleep(max(0.0, wait))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _room(self) -> int:
        return max(1, int(self.limit))

    async def _place(self) -> None:
        if not self._waiting and self._inside < self._room():
            self._inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # a place that nobody would ever leave
                self._leave()
            raise

    def _leave(self) -> None:
        self._inside -= 1
        while self._waiting and self._inside < self._room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)

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
