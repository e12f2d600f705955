"""How many requests use the database at once: fewer than there are threads and connections.

A request runs in a thread of the pool piece by piece: its dependencies, its function, its answer.
Without a limit, forty requests that wait for a lock held all forty threads, and the one that held
the lock had none left to go on in: nothing moved until a time-out. Who waits for a turn here holds
no thread, no connection and no lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from anyio import CancelScope, Semaphore
from anyio.lowlevel import RunVar
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 32
"""Below the 40 threads of the pool and the 40 connections of the engine, of which a request may
need a second one."""

STREAMS_AT_ONCE = 6
"""Answers that are read from the database while they are sent, each with a connection of its own:
together with the turns fewer than the 40."""

_free: RunVar[Semaphore] = RunVar("activedpo_turns")
_streams: RunVar[Semaphore] = RunVar("activedpo_streams")


def _of_this_loop(places: RunVar[Semaphore], count: int) -> Semaphore:
    """An event loop has its own."""
    found = places.get(None)
    if found is None:
        found = Semaphore(count)
        places.set(found)
    return found


class Turn:
    """The right to use the database."""

    def __init__(self, free: Semaphore) -> None:
        self._free: Semaphore | None = free

    def give_back(self) -> None:
        """To others; again: nothing. Called in the event loop."""
        if self._free is not None:
            self._free.release()
            self._free = None


@asynccontextmanager
async def turn() -> AsyncIterator[Turn]:
    """Wait for a turn, in the order of asking, and give it back at the end."""
    free = _of_this_loop(_free, AT_ONCE)
    await free.acquire()
    mine = Turn(free)
    try:
        yield mine
    finally:
        mine.give_back()


async def streamed(pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    """Send what is read from the database on the way, once one of the few connections for that is
    free; it is given back too where nobody takes the rest."""
    async with _of_this_loop(_streams, STREAMS_AT_ONCE):
        try:
            async for piece in iterate_in_threadpool(pieces):
                yield piece
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(pieces.close)


async def in_turn(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that uses the database in a thread, when its turn has come."""
    async with turn():
        return await run_in_threadpool(function, *args, **kwargs)
