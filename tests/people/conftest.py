"""A site with a real identity provider beside it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from httpx import Response
from sqlalchemy import Engine

from app.main import create_app
from app.people import oidc_provider, throttle
from app.stack.redis import free_port
from tests.pages.conftest import Browser

READY_SECONDS = 60
SECRET = "the client's secret, with : and %"
CLIENT = "activedpo"


class Provider:
    """The provider's process, and what a test may tell it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.people.provider", str(self.port)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CLIENT_SECRET": SECRET},
        )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                if httpx.get(f"{self.issuer}/jwks", timeout=5).status_code == 200:
                    return process
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the identity provider did not come up")
            time.sleep(0.1)

    def knows(self, subject: str, **claims: Any) -> None:
        """Make somebody known, with these claims."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def breaks(self, **faults: Any) -> None:
        """Break it so, and in no other way."""
        httpx.put(f"{self.issuer}/faults", json=faults, timeout=10).raise_for_status()

    def calls(self, path: str) -> int:
        """How often a path was asked for."""
        counted: dict[str, int] = httpx.get(f"{self.issuer}/calls").json()
        return counted.get(path, 0)

    def lets_in(self, address: str, subject: str) -> str:
        """What a person does there: says who they are; the address that they are sent back to."""
        answer = httpx.post(address, data={"sub": subject}, follow_redirects=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(10)

    def start_again(self) -> None:
        """The same address, with nothing remembered."""
        self._process = self._started()


@pytest.fixture(scope="session")
def running() -> Iterator[Provider]:
    """The provider's process, one for all tests of a run."""
    provider = Provider()
    yield provider
    provider.stop()


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider, unbroken, with somebody called ann."""
    running.breaks()
    running.knows(
        "ann", email="ann@example.com", email_verified=True, name="Ann", groups=["labellers"]
    )
    return running


@pytest.fixture
def configure(
    forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, database: Engine
) -> Callable[..., Any]:
    """Sets the environment and makes an application that reads it."""

    def make(**settings: Any) -> Any:
        for name, value in settings.items():
            text = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(f"ACTIVEDPO_{name.upper()}", text)
        forget()
        oidc_provider.provider.cache_clear()
        throttle._shared.cache_clear()
        return create_app()

    return make


@pytest.fixture
def site(configure: Callable[..., Any], provider: Provider) -> Callable[..., Any]:
    """Makes an application that knows the provider."""

    def make(**more: Any) -> Any:
        settings = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
            "oidc_name": "Example",
            "oidc_roles": {"bosses": "admin", "labellers": "member"},
            "oidc_create_people": "1",
        }
        return configure(**settings | more)

    return make


def begun(browser: Browser, next: str = "/projects") -> str:
    """Where the site sends the browser."""
    answer = browser.get("/sign-in/oidc", params={"next": next})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def come_back(browser: Browser, address: str) -> Response:
    """The callback, as the provider sends the browser there."""
    parts = urlsplit(address)
    assert parts.netloc == "testserver"
    return browser.get(f"{parts.path}?{parts.query}")


def sign_in(browser: Browser, provider: Provider, subject: str = "ann") -> Response:
    """The whole way, through the provider and back."""
    return come_back(browser, provider.lets_in(begun(browser), subject))
