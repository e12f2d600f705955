"""Web servers as processes of their own: what one has signed, another believes; who stands before
them is believed where that was said, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import Engine

from app.database import transaction
from app.people import actions
from app.stack.redis import free_port
from tests.driver import wait_until

EMAIL, PASSWORD = "ann@example.com", "a long enough password"
Start = Callable[..., "Server"]


class Server:
    """``activedpo serve`` on a port of its own."""

    def __init__(self, **more: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"],
            env=os.environ | {"ACTIVEDPO_PORT": str(self.port)} | more,
        )
        wait_until(self._answers, "the web server to answer", 60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "it ended"
        try:
            return httpx.get(f"{self.address}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def start(database: Engine) -> Iterator[Start]:
    """Starts servers on the test's database, and ends them."""
    started: list[Server] = []

    def begin(**more: str) -> Server:
        started.append(Server(**more))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.end()


def test_sessions_and_keys_hold_across_servers_and_restarts(start: Start) -> None:
    """Argilla's signing key was random in each process: whoever met another was signed out."""
    with transaction() as session:
        person = actions.add_person(session, EMAIL, "Ann", "admin", PASSWORD)
        _, key = actions.add_key(session, person, "admin")
    one, two = start(), start()
    with httpx.Client(base_url=one.address) as browser:
        body = {"email": EMAIL, "password": PASSWORD}
        csrf = {"X-CSRF-Token": browser.post("/api/v1/sign-in", json=body).json()["csrf_token"]}
        bearer = {"Authorization": f"Bearer {key}"}

        def holds(server: Server) -> None:
            read = browser.get(f"{server.address}/api/v1/me")
            assert read.json()["email"] == EMAIL
            written = browser.post(
                f"{server.address}/api/v1/projects", json={"name": "x"}, headers=csrf
            )
            assert written.status_code == 201, written.text
            assert httpx.get(f"{server.address}/api/v1/me", headers=bearer).status_code == 200

        holds(one)
        holds(two)
        one.end()
        holds(start())


@pytest.mark.parametrize(
    ("trusted", "believed"),
    [({}, True), ({"FORWARDED_ALLOW_IPS": "192.0.2.1"}, False)],
    ids=["a proxy on this machine", "only the one that was named"],
)
def test_who_says_where_a_request_comes_from_is_trusted_explicitly(
    start: Start, trusted: dict[str, str], believed: bool
) -> None:
    """Whoever may say that could try passwords from a new address each time."""
    server = start(**trusted)
    body = {"email": EMAIL, "password": "wrong"}
    answers = [
        httpx.post(
            f"{server.address}/api/v1/sign-in",
            json=body,
            headers={"X-Forwarded-For": f"198.51.100.{n}"},
        ).status_code
        for n in range(12)
    ]
    assert set(answers) == ({401} if believed else {401, 429})
