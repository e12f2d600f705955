"""The site below a path of a proxy: every link, form, script, cookie, stream and redirect fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, expect
from sqlalchemy import Engine

from app.prefix import ADDRESSES
from tests.driver import Visitor
from tests.proxy import Proxy, behind
from tests.stack.parts import EMAIL, KEY, PASSWORD, Parts

pytestmark = pytest.mark.timeout(200)
ROOT = "/labels/here"
TEMPLATES = Path(__file__).parents[2] / "templates"


@pytest.fixture(params=["the proxy takes the prefix off", "the proxy passes it on"])
def proxy(
    request: pytest.FixtureRequest, database: Engine, tmp_path: Path
) -> Iterator[tuple[Proxy, str]]:
    """A proxy before a web server that knows of it, and a project that takes labels."""
    with ExitStack() as closing:
        parts = Parts(tmp_path, closing, ACTIVEDPO_ROOT_PATH=ROOT)
        parts.start("web", "serve")
        strips = request.param.endswith("off")
        made = closing.enter_context(behind(parts.address, ROOT, strips))
        yield made, labelling(Visitor(parts.address, KEY))


def labelling(visitor: Visitor) -> str:
    """A project of imported pairs, open for labelling; its id."""
    wanted = {"name": "pairs", "source": "imported", "acquisition": "random", "batch_size": 3}
    project: str = visitor.post("/projects", wanted)["id"]
    pairs = [{"prompt": f"p {n}", "completion_a": "a", "completion_b": "b"} for n in range(3)]
    visitor.post(f"/projects/{project}/pairs", {"pairs": pairs})
    visitor.wait_for(visitor.open_round(project), "labelling")
    return project


def addresses(page: str) -> set[str]:
    """Every address in a page."""
    soup = BeautifulSoup(page, "html.parser")
    return {
        tag[name]
        for name in ADDRESSES
        for tag in soup.find_all(attrs={name: True})
        if not tag[name].startswith("#")
    }


def test_every_attribute_with_an_address_is_known() -> None:
    found: set[str] = set()
    for file in TEMPLATES.rglob("*.html"):
        text = file.read_text()
        found |= set(re.findall(r'\s([\w-]+)="(?:/[a-z]|\{\{ (?:p|static)\b)', text))
    assert found - {"x", "y"} <= set(ADDRESSES)  # a plot's point is called p as well
    assert len(found) > 5


def test_every_link_leads_somewhere_below_the_prefix(proxy: tuple[Proxy, str]) -> None:
    made, _ = proxy
    with httpx.Client(base_url=made.address, timeout=60, follow_redirects=True) as http:
        asked = http.get(f"{ROOT}/people")
        assert (urlsplit(str(asked.url)).path, asked.status_code) == (f"{ROOT}/sign-in", 200)
        who = {"email": EMAIL, "password": PASSWORD, "next": "/people"}
        arrived = http.post(f"{ROOT}/sign-in", data=who)
        assert (urlsplit(str(arrived.url)).path, arrived.status_code) == (f"{ROOT}/people", 200)
        assert {cookie.path for cookie in http.cookies.jar} == {f"{ROOT}/"}
        seen: set[str] = set()
        waiting = {f"{ROOT}/projects", f"{ROOT}/admin/system"}
        while waiting:
            path = waiting.pop()
            seen.add(path)
            if path.endswith("/events"):
                continue
            answer = http.get(path)
            assert answer.status_code in (200, 405), path  # 405: a form's action
            if answer.headers["Content-Type"].startswith("text/html"):
                found = {urlsplit(urljoin(path, one)).path for one in addresses(answer.text)}
                assert [one for one in found if not one.startswith(f"{ROOT}/")] == []
                skip = ("sign-out", "events", "export", "download")
                waiting |= {one for one in found if not one.endswith(skip)} - seen
        assert len(seen) > 25
        assert http.get(f"{ROOT}/openapi.json").json()["servers"] == [{"url": ROOT}]
        assert f"{made.address}{ROOT}/api/v1" in http.get(f"{ROOT}/docs").text
        assert http.get(f"{ROOT}/projects/").status_code == 200, "the slash is sent away"
    assert made.outside == []


def test_a_stream_holds_addresses_that_fit(proxy: tuple[Proxy, str]) -> None:
    made, project = proxy
    with httpx.Client(base_url=made.address + ROOT, timeout=60) as http:
        http.post("/api/v1/sign-in", json={"email": EMAIL, "password": PASSWORD})
        (round_,) = http.get(f"/api/v1/projects/{project}/rounds").json()["items"]
        with http.stream("GET", f"/rounds/{round_['id']}/events") as stream:
            for line in stream.iter_lines():
                if 'action="' in line:
                    assert f'action="{ROOT}/rounds/' in line
                    break
            else:
                pytest.fail("the stream ended without a form")
    assert made.outside == []


@pytest.mark.browser
def test_people_label_below_the_prefix(proxy: tuple[Proxy, str], chromium: Browser) -> None:
    made, project = proxy
    complaints: list[Any] = []
    context = chromium.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    label = f"{made.address}{ROOT}/projects/{project}/label"
    page.goto(label)
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(label)
    for n in range(3):
        expect(page.locator("#progress")).to_have_text(f"{n} of 3 in this batch")
        expect(page.locator("#pair")).to_be_visible()
        page.keyboard.press("1")
    expect(page.locator("#rest")).to_be_visible()
    context.close()
    assert complaints == []
    assert made.outside == []
