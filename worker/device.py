"""The loop around the accelerator: take a run, let the child do it, store the outcome, again."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random_exponential

from activedpo.errors import ActiveDPOError
from app import faults, tracing
from app.database import transaction
from app.rounds import runs, stages
from app.rounds.models import Run
from app.settings import get_settings
from worker import compare, evaluate, generate, spans, storage, train, trial, volume
from worker.accelerator import Accelerator, CrashedError, RefusedError
from worker.hold import Hold, HoldLostError, Progress
from worker.tally import Tally
from worker.work import Wire

log = structlog.get_logger()
T = TypeVar("T")


class Job(Protocol):
    """One kind of run: ``load`` and ``store`` in short transactions, ``compute`` in the child."""

    WORK: Wire[Any]
    OUTCOME: Wire[Any]

    def load(self, session: Session, run: Run) -> Any: ...
    def store(self, session: Session, run: Run, work: Any, outcome: Any) -> None: ...


JOBS: dict[str, Job] = {
    "generate": generate,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "try": trial,
}


def passing(error: BaseException) -> bool:
    """Whether the database may well answer if asked again: restarted, busy, deadlocked."""
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


patiently = retry(
    retry=retry_if_exception(passing),
    wait=wait_random_exponential(max=3),
    stop=stop_after_delay(60),
    reraise=True,
)


class Device:
    """This worker's accelerator. One thread at a time drains the waiting runs.

    Args:
        kinds: of runs that it takes.
        otherwise: does one piece of other work on the accelerator, between two runs and while
            none waits; says whether there was any.
    """

    def __init__(
        self,
        kinds: Iterable[str] = tuple(JOBS),
        otherwise: Callable[[Device], bool] | None = None,
    ) -> None:
        self._kinds, self._otherwise = list(kinds), otherwise
        self._turn = False
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self.accelerator = Accelerator()
        self.tally = Tally()
        self.stopping = threading.Event()
        self._busy = threading.Lock()
        self._wanted = threading.Event()
        self._training: tuple[Any, Progress] | None = None

    def drain(self) -> None:
        """Do every run that waits. Returns at once where another thread is at it.

        A call that comes while another thread is about to leave is not lost: it is noted before
        the lock is tried, and whoever holds the lock looks at the note after letting go.
        """
        self._wanted.set()
        while self._wanted.is_set() and self._busy.acquire(blocking=False):
            try:
                self._wanted.clear()
                while not self.stopping.is_set() and self._one():
                    pass
            finally:
                self._busy.release()

    def stop(self, seconds: float = 0) -> None:
        """End the work; what was held goes back without counting as a failed attempt.

        Args:
            seconds: how long a training may take to its next step and checkpoint; then, and for
                all other work, it ends at once. Does not wait.
        """
        self.stopping.set()
        if seconds > 0:
            self.accelerator.wind_down()
            timer = threading.Timer(seconds, self.accelerator.end)
            timer.daemon = True
            timer.start()
        else:
            self.accelerator.end()

    def _one(self) -> bool:
        """One piece of work; whether there was any. Runs and the other work take turns."""
        self._turn = not self._turn
        first, second = (self._run, self._other) if self._turn else (self._other, self._run)
        return first() or second()

    def _other(self) -> bool:
        return self._otherwise is not None and self._otherwise(self)

    def _run(self) -> bool:
        settings = get_settings()
        with transaction() as session:
            run = runs.take(session, self.owner, settings.lease_seconds, self._kinds)
            trace = spans.trace_of(session, run)
        if run is None:
            return False
        with structlog.contextvars.bound_contextvars(
            run=str(run.id), round=str(run.round_id), kind=run.kind, attempt=run.attempt
        ):
            begun = time.monotonic()
            with spans.of_run(run, trace) as span:
                outcome = self._attempt(run)
                span.set_attribute("activedpo.outcome", outcome)
            self.tally.count("runs", run.kind, outcome)
            self.tally.count("run_seconds", run.kind, outcome, by=time.monotonic() - begun)
        return True

    def _attempt(self, run: Run) -> str:
        """Do a run that was taken; how it ended: done, lost, refused or given_up."""
        log.info("run_taken")
        if run.attempt > 1:
            self.tally.count("retries", run.kind)
        faults.point(f"{run.kind}.taken")
        try:
            self._carry_out(run)
        except HoldLostError:
            log.info("hold_lost")
            self.tally.count("lease_losses", run.kind)
            return "lost"
        except (RefusedError, ActiveDPOError) as error:
            message = str(error)  # for people, in the round; the log has no texts
            log.info("run_refused", error=type(error).__name__)
            self._close(run, lambda session, mine: stages.failed(session, mine, message))
            return "refused"
        except Exception as error:
            if not isinstance(error, CrashedError):
                log.exception("run_crashed")
            stopping = self.stopping.is_set()
            why = None if stopping else _said(error)
            log.warning("run_given_up", error=type(error).__name__)
            left = self._left() if stopping and run.kind == "train" else None
            self._close(run, lambda session, mine: runs.give_up(session, mine, why, left))
            return "given_up"
        log.info("run_done", seconds=self.accelerator.clock.get("seconds"))
        return "done"

    def _carry_out(self, run: Run) -> None:
        job, settings = JOBS[run.kind], get_settings()
        with tracing.span("load"):
            work = _loaded(job, run)
        faults.point(f"{run.kind}.loaded")
        progress = Progress("loading", 0, run.total)
        self._training = (work, progress) if run.kind == "train" else None
        hold = Hold(
            run.id,
            run.attempt,
            settings.lease_seconds,
            settings.heartbeat_seconds,
            progress,
            self.accelerator.kill,
        )
        with hold:
            try:
                with spans.Stages(progress.update) as told:
                    answer = self.accelerator.run(run.kind, job.WORK.pack(work), told)
                outcome = job.OUTCOME.unpack(answer)
                faults.point(f"{run.kind}.computed")
                if run.kind == "train":
                    with tracing.span("keep"):
                        outcome = _kept(work, outcome)
                    faults.point("train.kept")
            except Exception as error:
                if hold.lost.is_set():
                    raise HoldLostError from error
                raise
        clock = self.accelerator.clock
        self.tally.worked(run.kind, clock, volume.of(work, outcome, clock))
        with tracing.span("publish"):
            _publish(job, run, work, outcome, clock)
        if run.kind == "train":
            train.clear_scratch(run)

    def _left(self) -> runs.Left | None:
        """The checkpoint that a stopped training leaves, for whoever goes on."""
        if self._training is None or (checkpoint := self._training[1].checkpoint) is None:
            return None
        try:
            return runs.Left(checkpoint, train.leave(self._training[0], checkpoint))
        except Exception as error:  # an object store fails in ways of its own; this host has it
            log.warning("checkpoint_not_left", error=type(error).__name__)
            return runs.Left(checkpoint, None)

    def _close(self, run: Run, end: Callable[[Session, Run], None]) -> None:
        try:
            _under_hold(run, end)
        except HoldLostError:
            log.info("hold_lost")
        except DBAPIError as error:  # the reconciler finds the run when its lease is over
            log.warning("run_left_to_its_lease", error=type(error).__name__)


def _kept(work: Any, outcome: Any) -> Any:
    try:
        return train.keep(work, outcome)
    except OSError as error:
        advice = storage.closed(error, "the artefact store (ACTIVEDPO_ARTIFACTS)")
        if advice is None:
            raise
        raise RefusedError(advice) from error


@patiently
def _loaded(job: Job, run: Run) -> Any:
    with transaction() as session:
        return job.load(session, run)


def _publish(job: Job, run: Run, work: Any, outcome: Any, clock: dict[str, Any]) -> None:
    def write(session: Session, mine: Run) -> None:
        job.store(session, mine, work, outcome)
        mine.output = {**mine.output, "clock": clock}
        session.flush()
        faults.point(f"{run.kind}.committing")

    _under_hold(run, write)
    faults.point(f"{run.kind}.committed")


@patiently
def _under_hold(run: Run, write: Callable[[Session, Run], None]) -> None:
    """Write in one transaction under the fencing number; a hold that was lost writes nothing."""
    with transaction() as session:
        mine = runs.hold(session, run.id, run.attempt)
        if mine is None:
            raise HoldLostError
        write(session, mine)


def _said(error: BaseException) -> str:
    """One line for the round's page: a database's error goes on with its statement."""
    if isinstance(error, CrashedError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:500]
