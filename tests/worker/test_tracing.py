"""Traces: one from the request that opened a round to its training, over real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app import tracing
from app.database import transaction
from app.people import actions as people
from app.people.models import Person
from app.stack.redis import free_port
from tests.worker.conftest import Worker, make_person, round_of, wait_for, wait_state

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = bytes.fromhex(CLIENT.split("-")[1])
SECRET = "say something about"


@dataclass
class Collector:
    """An OTLP receiver over HTTP: what came, as it was sent and as spans by service."""

    port: int
    bodies: list[bytes] = field(default_factory=list)
    spans: list[tuple[str, Span]] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Take one export request."""
        told = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for resource in told.resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        """Spans by name, in the order of their start."""
        found = [span for _, span in self.spans if span.name == name]
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    def of(self, trace_id: bytes) -> dict[bytes, Span]:
        """Spans of a trace by id."""
        return {span.span_id: span for _, span in self.spans if span.trace_id == trace_id}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver on a free port."""
    made = Collector(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            made.take(body)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def traced(collector: Collector, settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of processes that send their traces to the collector."""
    monkeypatch.setenv("ACTIVEDPO_TRACING", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")


@pytest.fixture
def rest(traced: None, database: Any) -> Iterator[httpx.Client]:
    """A client with the key of an admin, of a web server process."""
    port, person_id = free_port(), make_person()
    with transaction() as session:
        person = session.get_one(Person, person_id)
        _, key = people.add_key(session, person, "admin")
    web = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"], env=os.environ | {"ACTIVEDPO_PORT": str(port)}
    )
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )

    def up() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            assert web.poll() is None, "the web server ended"
            return False

    try:
        wait_for(up)
        yield client
    finally:
        client.close()
        web.terminate()
        web.wait(30)


def attributes(span: Span) -> dict[str, str | int]:
    """Attributes of a span as plain values."""
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def label_all(rest: httpx.Client, project: UUID, round_id: UUID) -> None:
    """Answers the whole batch over REST, as other clients would."""
    wait_state(round_id, "labelling")
    claims = rest.post(f"/api/v1/projects/{project}/claims", json={"count": 50}).json()["items"]
    for claim in claims:
        told = rest.post(f"/api/v1/claims/{claim['id']}/preference", json={"choice": "left"})
        assert told.status_code == 201


def test_one_trace_leads_from_the_request_to_the_training(
    project: Callable[..., UUID],
    rest: httpx.Client,
    start_worker: Callable[..., Worker],
    collector: Collector,
) -> None:
    project_id = project(training={"max_steps": 2})
    worker = start_worker()
    asked = rest.post(
        f"/api/v1/projects/{project_id}/rounds?note={SECRET.split()[0]}-secret",
        headers={"traceparent": CLIENT},
    )
    assert asked.status_code == 202
    round_id = UUID(asked.json()["id"])
    label_all(rest, project_id, round_id)
    wait_state(round_id, "done")
    wait_for(lambda: collector.named("run evaluate"))
    worker.stop()
    (request,) = collector.named("POST /api/v1/projects/{project_id}/rounds")
    assert request.trace_id == TRACE
    ours = collector.of(TRACE)
    for kind, stages in {
        "generate": ("loading", "generating", "scoring"),
        "train": ("training", "keep"),
        "evaluate": ("evaluating",),
    }.items():
        (run,) = collector.named(f"run {kind}")
        assert (run.trace_id, run.parent_span_id) == (TRACE, request.span_id)
        below = {span.name for span in ours.values() if span.parent_span_id == run.span_id}
        assert {"load", "publish", *stages} <= below
        said = attributes(run)
        assert said["activedpo.round"] == str(round_id)
        assert said["activedpo.project"] == str(project_id)
        assert (said["activedpo.attempt"], said["activedpo.outcome"]) == (1, "done")
    assert {service for service, _ in collector.spans} == {"activedpo-web", "activedpo-worker"}
    # the last label woke the worker: that request is another trace, and the training links it
    answers = collector.named("POST /api/v1/claims/{claim_id}/preference")
    woken = {s.trace_id: s for s in collector.named("task round")}
    assert TRACE in woken
    assert answers[-1].trace_id in woken
    (training,) = collector.named("run train")
    assert {link.trace_id for link in training.links} <= set(woken)
    statements = [span for span in ours.values() if span.name.startswith("sql ")]
    assert {"sql SELECT", "sql INSERT", "sql UPDATE"} <= {span.name for span in statements}
    assert {span.parent_span_id for span in statements} <= set(ours), "none on its own"
    everything = b"".join(collector.bodies)
    for words in (b"FROM rounds", b"INSERT INTO", b"UPDATE runs"):
        assert words not in everything
    assert SECRET.encode() not in everything
    assert b"secret" not in everything  # of the query
    assert not [n for n in ("readyz", "healthz") if n.encode() in everything]


def test_a_round_that_a_worker_opens_begins_a_trace_linked_to_the_one_before(
    project: Callable[..., UUID],
    rest: httpx.Client,
    start_worker: Callable[..., Worker],
    collector: Collector,
) -> None:
    project_id = project(prompts=12, training={"max_steps": 1}, auto_next=True, pool_size=6)
    start_worker()
    asked = rest.post(f"/api/v1/projects/{project_id}/rounds", headers={"traceparent": CLIENT})
    first = UUID(asked.json()["id"])
    label_all(rest, project_id, first)
    wait_state(first, "done")
    second = next(
        item
        for item in rest.get(f"/api/v1/projects/{project_id}/rounds").json()["items"]
        if item["number"] == 2
    )
    (begun,) = wait_for(lambda: collector.named("round opened"))
    assert begun.trace_id != TRACE
    assert {link.trace_id for link in begun.links} == {TRACE}
    kept = round_of(UUID(second["id"])).traceparent
    assert kept is not None
    assert kept.split("-")[1] == begun.trace_id.hex()


def test_nothing_is_traced_unless_it_is_asked_for(
    collector: Collector, project: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    tracing.configure("web")
    assert not tracing.provided()
    assert tracing.carried() == {}
    assert tracing.of_round() is None
    with tracing.span("nothing") as span:
        assert span is trace.INVALID_SPAN or not span.is_recording()
    tracing.flush()
    assert collector.bodies == []


def test_a_traceparent_that_is_none_makes_a_trace_of_its_own() -> None:
    for broken in (None, "", "rubbish", "00-0-0-00", {"traceparent": "x"}):
        found = trace.get_current_span(tracing.context_of(broken)).get_span_context()
        assert not found.is_valid
    found = trace.get_current_span(tracing.context_of(CLIENT)).get_span_context()
    assert found.trace_id == int.from_bytes(TRACE)
    assert re.fullmatch(r"[0-9a-f]{32}", trace.format_trace_id(found.trace_id))
