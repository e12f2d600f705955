"""OpenTelemetry traces over web, Celery and worker; off unless ``ACTIVEDPO_TRACING`` is set.

Where spans go, how many are kept and what the service is called say the standard variables
(``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, ...). A span
carries ids, names of stages and numbers: never a prompt, a completion, an address or a query.

A round keeps the trace of the request that opened it, so that its model work is in that trace
whichever message woke the worker; the message's own span is linked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.settings import get_settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

HIDDEN = ("url.query", "server.address", "server.port")
"""What FastAPI notes of a request and we do not: a query may hold a code of sign-in."""

QUIET = ("/healthz", "/readyz", "/metrics", "/static/")
_PROPAGATOR = TraceContextTextMapPropagator()
_process = {"part": "web"}


def configure(part: str) -> None:
    """Let this process send spans, where the settings want that; once, at its start.

    Args:
        part: web or worker; the service's name where ``OTEL_SERVICE_NAME`` gives none.
    """
    _process["part"] = part
    if not get_settings().tracing or provided():
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class Discreet(SpanProcessor):
        """Blackens what others note of a request."""

        def on_start(self, span: Any, parent_context: Context | None = None) -> None:  # noqa: ARG002
            for name in HIDDEN:
                if name in (span.attributes or {}):
                    span.set_attribute(name, "-")

    name = os.environ.get("OTEL_SERVICE_NAME") or f"activedpo-{part}"
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(Discreet())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def provided() -> bool:
    """Whether spans of this process go anywhere."""
    return not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider
    )


def flush() -> None:
    """Send what was not sent yet."""
    provider = trace.get_tracer_provider()
    if provided() and hasattr(provider, "force_flush"):
        sdk: TracerProvider = provider  # type: ignore[assignment]
        sdk.force_flush()


def quiet(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request is one that machines repeat for ever: no span."""
    return str(scope.get("path", "")).startswith(QUIET)


def carried() -> dict[str, str]:
    """The present span as headers of a message; empty where there is none."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers)
    return headers


def of_round() -> str | None:
    """The trace that a round being opened belongs to.

    That of the request; a round that a worker opens by itself begins a trace of its own, linked to
    the round before, or one trace would go on for ever.
    """
    present = trace.get_current_span()
    if not present.get_span_context().is_valid:
        return None
    if _process["part"] != "worker":
        return carried().get("traceparent")
    with span("round opened", context=Context(), links=[Link(present.get_span_context())]):
        return carried().get("traceparent")


def context_of(carrier: Mapping[str, str] | str | None) -> Context:
    """The context that headers, or a ``traceparent`` alone, speak of."""
    if carrier is None:
        return Context()
    headers = {"traceparent": carrier} if isinstance(carrier, str) else dict(carrier)
    return _PROPAGATOR.extract(headers, context=Context())


@contextmanager
def span(
    name: str,
    *,
    context: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    links: list[Link] | None = None,
    **attributes: str | int | float,
) -> Iterator[Span]:
    """A span around a block, under the present one or under ``context``.

    An error is noted by its kind alone: messages may hold texts.
    """
    given = {f"activedpo.{key}": value for key, value in attributes.items()}
    tracer = trace.get_tracer("activedpo")
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        links=links,
        attributes=given,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            made.set_attribute("error.type", type(error).__name__)
            made.set_status(trace.StatusCode.ERROR)
            raise


def of_statements(engine: Engine) -> None:
    """A span for each SQL statement below a span of ours: its verb and how long, never its text."""
    if not get_settings().tracing:
        return
    event.listen(engine, "before_cursor_execute", _statement_begins)
    event.listen(engine, "after_cursor_execute", _statement_ended)
    event.listen(engine, "handle_error", _statement_failed)


def _statement_begins(
    _connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, many: bool
) -> None:
    if context is None or not trace.get_current_span().is_recording():
        return
    verb = (statement.split(None, 1) or ["?"])[0].upper()
    verb = verb if verb.isalpha() else "?"
    context.activedpo_span = trace.get_tracer("activedpo").start_span(
        f"sql {verb}",
        kind=SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "activedpo.many": many},
    )


def _statement_ended(
    _connection: Any, cursor: Any, _statement: str, _values: Any, context: Any, _many: bool
) -> None:
    begun: Span | None = getattr(context, "activedpo_span", None)
    if begun is not None:
        begun.set_attribute("activedpo.rows", cursor.rowcount)
        begun.end()


def _statement_failed(told: ExceptionContext) -> None:
    begun: Span | None = getattr(told.execution_context, "activedpo_span", None)
    if begun is not None:
        begun.set_attribute("error.type", type(told.original_exception).__name__)
        begun.set_status(trace.StatusCode.ERROR)
        begun.end()
