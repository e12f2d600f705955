"""The door with an identity provider, and a second step that the site asks for, in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyotp
import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from app.database import transaction
from app.people import actions
from app.stack.redis import free_port
from tests.browser.conftest import PASSWORD, READY_SECONDS
from tests.browser.test_access import violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]
SETTINGS = {
    "ACTIVEDPO_SECOND_FACTOR": "all",
    "ACTIVEDPO_OIDC_ISSUER": "http://127.0.0.1:9",
    "ACTIVEDPO_OIDC_CLIENT_ID": "activedpo",
    "ACTIVEDPO_OIDC_NAME": "Harbour & Sons",
}


@pytest.fixture
def address(database: Engine) -> Iterator[str]:
    """A web server that asks everybody for a second step, on this test process's database."""
    port = free_port()
    command = ["-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, *command, "--log-level", "warning"], env=os.environ | SETTINGS
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY_SECONDS
    try:
        while True:
            try:
                if httpx.get(f"{url}/sign-in", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def looked_at(page: Page, name: str) -> None:
    """No fault of access, nothing wider than the screen; kept as a picture where asked."""
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]
)
def test_the_second_step_is_set_up_and_used(
    chromium: Browser, address: str, width: int, scheme: str
) -> None:
    email = "somebody.with.a.long.name@department.example.com"
    with transaction() as s:
        actions.add_person(s, email, "", "member", PASSWORD)
    context = chromium.new_context(
        base_url=address,
        bypass_csp=True,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page, end = context.new_page(), f"{width}-{scheme}"
    page.goto("/projects")
    looked_at(page, f"door-{end}")
    assert page.get_by_role("link", name="Sign in with Harbour & Sons").is_visible()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/account")
    looked_at(page, f"asked-{end}")
    page.get_by_label("Your password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("img", name="QR code for an authenticator app").wait_for()
    looked_at(page, f"set-up-{end}")
    app = pyotp.TOTP(page.locator("#secret").inner_text().replace(" ", ""))
    page.get_by_role("textbox", name="Code").fill(app.at(int(time.time()) - 30))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your recovery codes").wait_for()
    looked_at(page, f"codes-{end}")
    page.get_by_role("link", name="I have kept them: go on").click()
    page.wait_for_url(f"{address}/projects")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Second step of signing in").wait_for()
    looked_at(page, f"second-{end}")
    page.get_by_role("textbox", name="Code").fill(app.now())
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/projects")
    page.goto("/account")
    looked_at(page, f"on-{end}")
    context.close()
