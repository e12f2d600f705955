"""Webhooks: signed, tried again, given up in sight, never to a private address."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import transaction
from app.models import Delivery, Policy, Run
from app.oracles import webhooks
from app.rounds import stages
from app.settings import get_settings
from worker.webhooks import deliver_due

Make = Callable[..., Any]


class Listener:
    """Receives webhooks and answers as told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook?from=activedpo"


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "true")
    get_settings.cache_clear()
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()
    get_settings.cache_clear()


def hook(it: Any, listener: Listener, *events: str) -> dict[str, Any]:
    sent = it.client.post(f"{it.at}/webhooks", json={"url": listener.url, "events": events})
    assert sent.status_code == 201, sent.text
    return sent.json()


def deliveries(it: Any, made: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    found = it.client.get(f"/api/v1/webhooks/{made['id']}/deliveries", params=query)
    return found.json()["items"]


def due_now() -> None:
    with transaction() as s:
        for delivery in s.query(Delivery):
            delivery.next_at = delivery.created_at


def label_all(it: Any) -> None:
    it.open()
    it.answer([{"claim": one["id"], "choice": "left"} for one in it.claim(100)])


def test_a_round_is_told_and_signed(lab: Make, listener: Listener) -> None:
    it = lab(2)
    made = hook(it, listener)
    label_all(it)
    assert deliver_due() == 2
    kinds = sorted(json.loads(body)["type"] for _, body in listener.got)
    assert kinds == ["batch.complete", "round.labelling"]
    headers, body = listener.got[0]
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    told = json.loads(body)["data"]
    assert told["project"] == str(it.project_id)
    assert told["round"] == str(it.round().id)
    assert [one["state"] for one in deliveries(it, made)] == ["delivered"] * 2
    assert deliver_due() == 0


def test_the_secret_is_shown_once(lab: Make, listener: Listener) -> None:
    it = lab(1)
    made = hook(it, listener)
    listed = it.client.get(f"{it.at}/webhooks")
    assert listed.json()["items"][0]["id"] == made["id"]
    assert made["secret"] not in listed.text


def test_every_event_is_told_as_it_happens(lab: Make, listener: Listener) -> None:
    it = lab(2)
    hook(it, listener)

    def told() -> list[str]:
        deliver_due()
        kinds = sorted(json.loads(body)["type"] for _, body in listener.got)
        listener.got.clear()
        return kinds

    def run_of(session: Session, kind: str) -> Run:
        return session.scalars(select(Run).where(Run.kind == kind)).one()

    it.open()
    assert told() == ["round.labelling"]
    it.answer([{"claim": one["id"], "choice": "left"} for one in it.claim(2)])
    assert told() == ["batch.complete"]
    with transaction() as s:
        stages.failed(s, run_of(s, "train"), "out of memory")
    assert told() == ["round.failed"]
    assert it.client.post(f"/api/v1/rounds/{it.round().id}/retry").is_success
    told()
    with transaction() as s:
        values = {"number": 1, "kind": "adapter", "base_model": "base", "path": "p/1"}
        policy = Policy(project_id=it.project_id, round_id=it.round().id, **values)
        stages.trained(s, run_of(s, "train"), policy)
    assert told() == ["policy.published"]
    with transaction() as s:
        stages.evaluated(s, run_of(s, "evaluate"), {})
    assert told() == ["round.done"]


def test_only_what_was_asked_for(lab: Make, listener: Listener) -> None:
    it = lab(2)
    hook(it, listener, "batch.complete")
    label_all(it)
    deliver_due()
    assert [json.loads(body)["type"] for _, body in listener.got] == ["batch.complete"]


@pytest.mark.parametrize("status", [500, 404, 302])
def test_it_is_tried_again_and_given_up_in_sight(
    lab: Make, listener: Listener, status: int
) -> None:
    it = lab(2)
    made = hook(it, listener, "round.labelling")
    listener.status, listener.headers = status, {"Location": listener.url}
    it.open()
    deliver_due()
    (one,) = deliveries(it, made)
    assert (one["state"], one["attempts"], one["status"]) == ("pending", 1, status)
    assert deliver_due() == 0  # not before its time
    for _ in webhooks.BACKOFF:
        due_now()
        assert deliver_due() == 1
    assert len(listener.got) == len(webhooks.BACKOFF) + 1
    assert len({headers["webhook-id"] for headers, _ in listener.got}) == 1
    (dead,) = deliveries(it, made, state="dead")
    assert str(status) in dead["error"]
    listener.status = 200
    again = it.client.post(f"/api/v1/deliveries/{dead['id']}/resend")
    assert again.status_code == 202
    assert it.client.post(f"/api/v1/deliveries/{dead['id']}/resend").status_code == 409
    deliver_due()
    assert [x["state"] for x in deliveries(it, made)] == ["delivered"]


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    )
    file = folder / "server.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(
    lab: Make, listener: Listener, tmp_path: Path
) -> None:
    context = self_signed(tmp_path)
    plain = listener.server.socket
    # the handshake in the thread that serves the request: a refused one must not end the server
    listener.server.socket = context.wrap_socket(
        plain, server_side=True, do_handshake_on_connect=False
    )
    it = lab(2)
    url = listener.url.replace("http://", "https://")
    sent = it.client.post(f"{it.at}/webhooks", json={"url": url, "events": ["round.labelling"]})
    made = sent.json()
    it.open()
    deliver_due()
    due_now()
    assert deliver_due() == 1  # it is tried again like any failure
    (one,) = deliveries(it, made)
    assert (one["state"], one["attempts"], one["status"]) == ("pending", 2, None)
    assert "TLS certificate is not valid" in one["error"]
    assert "self-signed" in one["error"]
    assert listener.got == []


def test_gone_means_no_more(lab: Make, listener: Listener) -> None:
    it = lab(2)
    made = hook(it, listener)
    listener.status = 410
    it.open()
    deliver_due()
    assert [one["state"] for one in deliveries(it, made)] == ["dead"]
    assert it.client.get(f"{it.at}/webhooks").json()["items"][0]["active"] is False


def test_private_addresses_are_refused_early_and_when_connecting(
    lab: Make, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = lab(2)
    made = hook(it, listener)
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "false")
    get_settings.cache_clear()
    refused = it.client.post(f"{it.at}/webhooks", json={"url": listener.url})
    assert refused.status_code == 422
    it.open()
    deliver_due()
    assert listener.got == []
    assert "not public" in deliveries(it, made)[0]["error"]


def test_two_workers_send_each_once(lab: Make, listener: Listener) -> None:
    it = lab(2)
    for _ in range(10):
        hook(it, listener, "round.labelling")
    it.open()
    threads = [threading.Thread(target=deliver_due) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listener.got) == 10


def test_strangers_and_annotators_reach_none(lab: Make, listener: Listener) -> None:
    it, other = lab(1), lab(1)
    made = hook(it, listener)
    annotator = it.more("somebody")
    assert annotator.get(f"{it.at}/webhooks").status_code == 403
    at = f"/api/v1/webhooks/{made['id']}"
    assert other.client.get(f"{at}/deliveries").status_code == 404
    assert other.client.delete(at).status_code == 404
    assert it.client.delete(at).status_code == 204
    assert it.client.get(f"{it.at}/webhooks").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://example.org"},
        {"url": "https://u:p@example.org"},
        {"url": "http://example.org:99999/"},
        {"url": "http://[::1"},
        {"url": "https://example.org", "events": ["round.boring"]},
    ],
)
def test_what_is_no_webhook(lab: Make, body: dict[str, Any]) -> None:
    it = lab(1)
    assert it.client.post(f"{it.at}/webhooks", json=body).status_code == 422
