"""Spans of the worker: a message that woke it, a run, and each stage of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import tracing
from app.rounds.models import Round, Run


@contextmanager
def of_message(name: str, task: Any) -> Iterator[None]:
    """A span around a task, under the request that sent its message.

    None for a message without a trace: those of the clock come every few seconds and mostly find
    nothing to do.
    """
    sent = getattr(getattr(task, "request", None), "traceparent", None)
    if not isinstance(sent, str):
        yield
        return
    with tracing.span(f"task {name}", context=tracing.context_of(sent), kind=SpanKind.CONSUMER):
        yield


def trace_of(session: Session, run: Run | None) -> str | None:
    """The trace that the run's round was opened in."""
    if run is None or not tracing.provided():
        return None
    return session.scalar(select(Round.traceparent).where(Round.id == run.round_id))


@contextmanager
def of_run(run: Run, trace_of_round: str | None) -> Iterator[Span]:
    """A span around one attempt, in its round's trace; the message that woke us is linked."""
    present = trace.get_current_span().get_span_context()
    with tracing.span(
        f"run {run.kind}",
        context=tracing.context_of(trace_of_round),
        links=[Link(present)] if present.is_valid else None,
        project=str(run.project_id),
        round=str(run.round_id),
        run=str(run.id),
        shard=run.shard,
        attempt=run.attempt,
    ) as span:
        yield span


class Stages:
    """Takes the child's reports, passes them on, and keeps a span open for the stage they name."""

    def __init__(self, pass_on: Callable[[dict[str, Any]], None]) -> None:
        self._pass_on = pass_on
        self._tracer = trace.get_tracer("activedpo")
        self._stage = ""
        self._span: Span = trace.INVALID_SPAN

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()

    def __call__(self, report: dict[str, Any]) -> None:
        self._pass_on(report)
        if report["stage"] != self._stage:
            self._span.end()
            self._stage = report["stage"]
            self._span = self._tracer.start_span(self._stage)
        self._span.set_attribute("activedpo.done", report["done"])
        self._span.set_attribute("activedpo.total", report["total"])
