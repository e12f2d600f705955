"""Reading and saying more: Markdown, differences, strength, flags, a rationale; by keys alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_access import violations
from tests.browser.test_labelling import through

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello, **friend**."},
    {"role": "user", "content": "Name two colours"},
]
ALSO = [*CHAT[:2], {"role": "user", "content": "Name two colours, please"}]
LEFT = "# Colours\n\n- **red**\n- `blue`\n\n<img src=x onerror=alert(1)>"
RIGHT = "# Colours\n\n- **green**\n- `blue`\n\n<img src=x onerror=alert(1)>"


@pytest.fixture
def opened(site: Site, visit: Callable[..., Page]) -> Callable[..., tuple[str, Page]]:
    """Makes a project with two pairs of Markdown behind conversations; its labelling page."""

    def make(name: str, options: dict[str, Any] | None = None, **more: Any) -> tuple[str, Page]:
        settings = {"name": name, "base_model": site.model, "source": "imported"}
        settings |= {"acquisition": "random", "batch_size": 2, **more}
        project = str(site.rest.post("/projects", settings)["id"])
        pairs = [
            {"prompt": CHAT, "completion_a": LEFT, "completion_b": RIGHT},
            {"prompt": ALSO, "completion_a": LEFT, "completion_b": RIGHT},
        ]
        site.rest.post(f"/projects/{project}/pairs", {"pairs": pairs})
        site.rest.post(f"/projects/{project}/rounds")
        page = visit(f"/projects/{project}/label", **(options or {}))
        expect(page.locator("#pair")).to_be_visible()
        return project, page

    return make


def test_markdown_is_drawn_and_a_key_shows_the_text_as_it_is(opened: Any) -> None:
    _, page = opened("Markdown")
    expect(page.locator("#left strong")).to_have_count(1)
    expect(page.locator("#right code")).to_have_text("blue")
    expect(page.locator(".turn .role")).to_have_text(["User", "Assistant", "User"])
    expect(page.locator(".turn.assistant strong")).to_have_text("friend")
    assert page.locator("#pair img").count() == 0
    page.keyboard.press("m")
    expect(page.locator("#left")).to_contain_text("# Colours")
    expect(page.locator("#left strong")).to_have_count(0)
    page.reload()
    expect(page.locator("#left")).to_contain_text("# Colours")
    page.keyboard.press("m")
    expect(page.locator("#left strong")).to_have_count(1)


def test_words_that_differ_are_marked_on_demand(opened: Any) -> None:
    _, page = opened("Differences")
    assert page.locator("mark").count() == 0
    page.keyboard.press("d")
    marks = sorted(page.locator(f"#{side} mark").inner_text() for side in ("left", "right"))
    assert marks == ["green", "red"]
    page.keyboard.press("d")
    expect(page.locator("mark")).to_have_count(0)
    page.get_by_role("button", name="More").click()  # as a hand without keys does it
    page.get_by_role("button", name="Mark differences").click()
    expect(page.locator("mark")).to_have_count(2)
    page.get_by_role("button", name="Markdown or raw").click()
    page.get_by_role("button", name="Mark differences").click()
    expect(page.locator("#left")).to_contain_text("# Colours")


def test_strength_flags_and_words_go_with_the_choice(site: Site, opened: Any) -> None:
    project, page = opened("More")
    page.keyboard.press("Shift+Digit2")
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("r")
    page.keyboard.type("1 is better, 2 is not")  # keys are letters here
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    through(page)
    (row,) = site.answers(project)
    assert (row["strength"], row["rationale"]) == (2, "1 is better, 2 is not")
    page.keyboard.press("u")
    expect(page.locator("#why")).to_have_value("1 is better, 2 is not")
    expect(page.get_by_label("Unsafe")).to_be_checked()


def test_a_wanted_rationale_is_asked_for_and_then_sent(site: Site, opened: Any) -> None:
    project, page = opened("Wanted", require_rationale=True)
    page.keyboard.press("2")
    expect(page.locator("#why")).to_be_focused()
    page.keyboard.type("Green is calmer.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#extras")).to_be_hidden()
    through(page)
    (row,) = site.answers(project)
    assert row["choice"] == "right"
    assert row["rationale"] == "Green is calmer."


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_the_open_panel_is_open_to_everybody_and_fits(opened: Any, width: int, scheme: str) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    _, page = opened(f"Axe {width}", {**options, "bypass_csp": True})
    page.keyboard.press("d")
    page.keyboard.press("r")
    expect(page.locator("#extras")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
