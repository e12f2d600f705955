"""Every page in a real browser: nothing that keeps people out, nothing wider than the screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
PAGES = (
    "/projects",
    "/projects/new",
    "/people",
    "/keys",
    "/account",
    "/people/{person}/delete",
    "/projects/{project}/withheld",
    "/admin/system",
    "/projects/{project}",
    "/projects/{project}/rounds",
    "/projects/{project}/prompts",
    "/projects/{project}/import",
    "/projects/{project}/policies",
    "/projects/{project}/people",
    "/projects/{project}/settings",
    "/projects/{project}/quality",
    "/projects/{project}/practice",
    "/projects/{project}/practice?begin=1",
    "/projects/{project}/practice/pairs",
    "/projects/{project}/gold",
    "/projects/{project}/gold?pair={pair}",
    "/projects/{project}/log",
    "/projects/{project}/label",
    "/rounds/{round}",
)


@pytest.fixture(scope="module")
def addresses(site: Site) -> list[str]:
    """Where the pages of a project in the middle of its work are."""
    project = site.imported("Pages", 4)
    round = site.rest.get(f"/projects/{project}/rounds")["items"][0]["id"]
    person = site.rest.get("/people")["items"][0]["id"]
    (claim,) = site.rest.post(f"/projects/{project}/claims", {"count": 1})["items"]
    pair = site.rest.post(f"/claims/{claim['id']}/preference", {"choice": "left"})["pair"]
    site.rest.post(f"/projects/{project}/gold", {"pair": pair})
    site.practice(project)
    ids = {"project": project, "round": round, "person": person, "pair": pair}
    return [path.format(**ids) for path in PAGES]


def violations(page: Page) -> list[str]:
    """What axe finds, with where."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url}: {one['id']}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]
)
def test_every_page_is_open_to_everybody_and_fits(
    visit: Callable[..., Page], addresses: list[str], width: int, scheme: str
) -> None:
    # axe is put in by evaluate, which our own policy for scripts would refuse
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = visit("/projects", bypass_csp=True, **options)
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state("networkidle") if "label" in address else None
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


def test_the_theme_is_chosen_and_kept(visit: Callable[..., Page]) -> None:
    page = visit("/projects", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Use dark colours").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(ground) == light
