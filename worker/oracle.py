"""The oracles of this worker that need no accelerator: all in one event loop, in one thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from opentelemetry.context import Context

from activedpo.oracles import ORACLES, llm
from activedpo.oracles.callables import installed
from activedpo.oracles.verdict import Judge, StoppedError, TroubleError, Verdict
from activedpo.types import Prompt
from app import tracing
from app.oracles import actions, queries
from app.oracles.models import ON_ACCELERATOR
from app.oracles.schema import SHARED
from app.sealed import UnreadableSecretError, unseal
from app.settings import get_settings
from worker.hold import HoldLostError
from worker.shift import Held, Kept, Shift, in_database

log = structlog.get_logger()
VERSION = "1"
SIDE_BY_SIDE = 64
"""Pairs under way at a time for judges that ask nobody."""

STOP_SECONDS = 5.0
LOOKS = 20


class PlainJudge:
    """A function as a judge: in a thread, or awaited where it is asynchronous."""

    def __init__(self, name: str, function: Callable[..., Any], pool: ThreadPoolExecutor) -> None:
        self._name, self._function, self._pool = name, function, pool

    async def __call__(self, prompt: Prompt, completion_a: str, completion_b: str, /) -> Verdict:
        """The function's p, which must be None or lie in [0, 1]."""
        if inspect.iscoroutinefunction(self._function):
            found = await self._function(prompt, completion_a, completion_b)
        else:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(
                self._pool, self._function, prompt, completion_a, completion_b
            )
        record: dict[str, Any] = {"name": self._name, "version": VERSION}
        p = None if found is None else float(found)
        if p is not None and not 0 <= p <= 1:
            return Verdict(None, {**record, "reason": "its answer is no probability"})
        if p is None:
            record["reason"] = "it cannot decide"
        return Verdict(p, {**record, "p": p})


class Office:
    """Wakes oracles and lets each work until nothing is left for it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._at_work: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._woken: set[uuid.UUID] = set()
        self._ending: asyncio.Future[None] | None = None
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="judge")

    def wake(self, project_id: uuid.UUID) -> None:
        """The project's oracle may have work; returns at once."""
        with self._lock:
            if self._stopping:
                return
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, name="oracles", daemon=True)
                self._thread.start()
            self._loop.call_soon_threadsafe(self._begin, project_id)

    def stop(self) -> None:
        """End all work; what is held is given back."""
        with self._lock:
            self._stopping = True
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._cancel)
            thread.join(STOP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _serve(self) -> None:
        assert self._loop is not None, "made before its thread"
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def _cancel(self) -> None:
        async def end() -> None:
            tasks = list(self._at_work.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert self._loop is not None, "it runs this"
            self._loop.stop()

        self._ending = asyncio.ensure_future(end())

    def _begin(self, project_id: uuid.UUID) -> None:
        if self._stopping:
            return
        if project_id in self._at_work:
            self._woken.add(project_id)  # who is at it may have had its last look already
            return
        task = asyncio.ensure_future(self.attend(project_id))
        self._at_work[project_id] = task
        task.add_done_callback(lambda _: self._left(project_id))

    def _left(self, project_id: uuid.UUID) -> None:
        self._at_work.pop(project_id, None)
        if project_id in self._woken:
            self._woken.discard(project_id)
            self._begin(project_id)

    async def attend(self, project_id: uuid.UUID) -> None:
        """Work for one project's oracle until it has nothing to do, or rests."""
        seconds, again = get_settings().lease_seconds, LOOKS
        with structlog.contextvars.bound_contextvars(project=str(project_id)):
            while again:
                oracle = await in_database(queries.take, project_id, self.owner, seconds)
                if oracle is None or oracle.kind in ON_ACCELERATOR:
                    break
                held = Held.of(oracle)
                try:
                    with tracing.span(
                        "oracle", context=Context(), project=str(project_id), oracle=str(held.id)
                    ):
                        await self._hold(held)
                except HoldLostError:
                    log.info("hold_lost", oracle=str(held.id))
                    break
                except Exception:
                    log.exception("oracle_failed", oracle=str(held.id))
                    await in_database(_rest, held, "the worker failed: see its log", None)
                    break
                # what came while it was leaving; if that is out of reach, the clock asks again
                again -= 1
                if not await in_database(queries.has_work, held.id):
                    break

    async def _hold(self, held: Held) -> None:
        settings, kept = get_settings(), Kept()
        try:
            judge, width = self._judge(held, kept)
            try:
                shift = Shift(held, judge, width, kept, settings.heartbeat_seconds)
                await shift.work(settings.lease_seconds)
            finally:
                if isinstance(judge, llm.LLMJudge):
                    await judge.close()
        except StoppedError as error:
            await in_database(_stop, held, str(error))
        except UnreadableSecretError as error:
            await in_database(_stop, held, f"api_key: {error}")
        except TroubleError as error:
            await in_database(_rest, held, str(error), error.retry_after)
        except asyncio.CancelledError:
            await asyncio.shield(in_database(_let_go, held))
            raise
        else:
            await in_database(_let_go, held)

    def _judge(self, held: Held, kept: Kept) -> tuple[Judge, int]:
        options = {k: v for k, v in held.settings.items() if k not in SHARED}
        if held.kind == "openai":
            price = options.pop("price")
            judge = llm.LLMJudge(
                llm.Settings(
                    **options,
                    price_in=price["input"],
                    price_out=price["output"],
                    api_key=unseal(held.sealed) if held.sealed else None,
                    cost_before=float(held.spent.get("cost", 0.0)),
                    public_only=not get_settings().allow_private_addresses,
                ),
                kept,
            )
            # more than are asked at a time, so that storing and claiming hold nobody up
            return judge, 6 * int(options["concurrency"])
        try:
            name = str(options.get("callable", held.kind))
            made = installed(name) if held.kind == "callable" else ORACLES[held.kind](**options)
        except (ValueError, ImportError, AttributeError) as error:
            raise StoppedError(f"it cannot be made: {error}") from error
        return PlainJudge(name, made, self._pool), SIDE_BY_SIDE


def _let_go(session: Any, held: Held) -> None:
    oracle = queries.held(session, held.id, held.attempt)
    if oracle is not None:
        actions.let_go(session, oracle)


def _rest(session: Any, held: Held, why: str, after: float | None) -> None:
    oracle = queries.held(session, held.id, held.attempt)
    if oracle is not None:
        actions.rest(session, oracle, why, after)


def _stop(session: Any, held: Held, why: str) -> None:
    oracle = queries.held(session, held.id, held.attempt)
    if oracle is not None:
        actions.stop(session, oracle, why)
