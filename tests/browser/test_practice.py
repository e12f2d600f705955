"""Practice by keyboard alone, from the guidelines to the first real pair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import EMAIL, Site
from tests.browser.test_access import violations

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize("width", [1280, 360])
def test_practice_is_answered_by_keys_and_told_at_once(
    site: Site, visit: Callable[..., Page], width: int
) -> None:
    project = site.imported(f"Practice {width}", 2)
    site.practice(project)
    page = visit(
        f"/projects/{project}/practice",
        bypass_csp=True,
        viewport={"width": width, "height": 740},
    )
    assert EMAIL  # an admin is not asked, and may practise all the same
    page.keyboard.press("n")
    for n in range(2):
        expect(page.get_by_text(f"Pair {n + 1} of 2")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        longer = page.locator(".side").first.inner_text()
        page.keyboard.press("1" if "says why" in longer else "2")
        expect(page.locator("#told")).to_contain_text(f"It says why ({n})")
        expect(page.locator("#told")).to_contain_text("Right")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("n")
    expect(page.get_by_text("2 of 2 right.")).to_be_visible()
    page.wait_for_load_state()  # the page listens for keys once its script has run
    page.keyboard.press("n")
    expect(page.locator("#pair")).to_be_visible()
