"""A whole stack with a tiny model, and a real Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from activedpo.testing import tiny_model
from app.stack.redis import free_port
from tests.driver import Visitor

EMAIL, PASSWORD, KEY = "admin@example.com", "a long enough password", "key-of-the-browser-tests"
READY_SECONDS = 120
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Site:
    """A running stack: its address, and a REST client with the admin's key."""

    def __init__(self, address: str, model: str) -> None:
        self.address, self.model = address, model
        self.rest = Visitor(address, KEY)

    def imported(self, name: str, pairs: int, **more: Any) -> str:
        """A project of imported pairs whose round takes labels at once; its id."""
        settings = {
            "name": name,
            "base_model": self.model,
            "source": "imported",
            "acquisition": "random",
            "batch_size": pairs,
        }
        project = str(self.rest.post("/projects", settings | more)["id"])
        rows = [
            {
                "prompt": f"Question {n}?",
                "completion_a": f"Answer A of {n}",
                "completion_b": f"Answer B of {n}",
            }
            for n in range(pairs)
        ]
        self.rest.post(f"/projects/{project}/pairs", {"pairs": rows})
        self.rest.post(f"/projects/{project}/rounds")
        return project

    def colleague(self, project: str) -> Visitor:
        """Another annotator of a project, with a key of their own."""
        person = self.rest.post("/people", {"email": f"colleague-{project}@example.com"})["id"]
        self.rest.post(f"/projects/{project}/members", {"person": person})
        key = {"person": person, "project": project, "scope": "annotator"}
        return Visitor(self.address, str(self.rest.post("/keys", key)["key"]))

    def practice(self, project: str, pairs: int = 2) -> None:
        """Give a project practice pairs of which the longer text is always better."""
        learnt = [
            {
                "prompt": f"Practice {n}?",
                "completion_a": f"A **longer** answer to {n}, which says why.",
                "completion_b": f"No {n}.",
                "answer": "a",
                "explanation": f"It says why ({n}).",
            }
            for n in range(pairs)
        ]
        path = f"/projects/{project}/practice-pairs"
        assert self.rest.ask("PUT", path, json={"pairs": learnt}).status_code == 200

    def answers(self, project: str) -> list[Any]:
        """What is stored of a project's labels."""
        return self.rest.everything(f"/projects/{project}/preferences")


def _environment(home: Path, port: int) -> dict[str, str]:
    plain = {key: v for key, v in os.environ.items() if not key.startswith("ACTIVEDPO_")}
    return plain | {
        "ACTIVEDPO_HOME": str(home),
        "ACTIVEDPO_PORT": str(port),
        "ACTIVEDPO_ADMIN_EMAIL": EMAIL,
        "ACTIVEDPO_ADMIN_PASSWORD": PASSWORD,
        "ACTIVEDPO_API_KEY": KEY,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """``activedpo up`` on an empty HOME, as a user starts it."""
    home, port = tmp_path_factory.mktemp("site"), free_port()
    model = tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    address = f"http://127.0.0.1:{port}"
    log = (home / "up.log").open("wb")
    stack = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "up"],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=_environment(home, port),
    )
    try:
        _wait_until_ready(stack, address, home / "up.log")
        yield Site(address, str(model))
    finally:
        stack.send_signal(signal.SIGTERM)
        stack.wait(60)
        log.close()


def _wait_until_ready(stack: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if stack.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the stack did not come up:\n{log.read_text()}")
        time.sleep(0.2)


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def _launch(playwright: Playwright) -> Browser:
    try:
        return playwright.chromium.launch(executable_path=_chromium(), args=ARGUMENTS)
    except Exception as error:
        why = f"no Chromium that starts: {str(error).splitlines()[0]}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for the tests of a file: while it is there an event loop runs in this thread."""
    with sync_playwright() as playwright:
        browser = _launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Opens a page in a browser of its own, signed in; complaints of the console fail the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str, sign_in: bool = True, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 800}, "base_url": site.address} | options
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type == "error"
                and "net::ERR_" not in said.text  # cut off by the test
                and "401 (Unauthorized)" not in said.text
                and "410 (Gone)" not in said.text  # the page knows what to say of it
                else None
            ),
        )
        if sign_in:
            page.goto(f"/sign-in?next={path}")
            page.locator("input[name=email]").fill(EMAIL)  # whatever language the door speaks
            page.locator("input[name=password]").fill(PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_url(site.address + path)
        else:
            page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
