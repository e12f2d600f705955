"""From the door to a trained policy, by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import EMAIL, PASSWORD, Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(280)]

WORK_MS = 120_000


def tab_to(page: Page, name: str, role: str = "link") -> None:
    """Walk with the Tab key until the focus is there, as who has no mouse does."""
    wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
    expect(wanted).to_be_visible()
    for _ in range(400):  # the list of projects grows with every test
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached by Tab")


def test_sign_in_label_a_batch_see_it_train_see_the_policy(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.rest.project(site.model, name="By keyboard", batch_size=4, pool_size=6)
    page = visit("/", sign_in=False)
    expect(page).to_have_url(re.compile("/sign-in"))
    page.keyboard.type(EMAIL)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()

    tab_to(page, "By keyboard")
    page.keyboard.press("Enter")
    tab_to(page, "Start round 1", "button")
    page.keyboard.press("Enter")
    # the page changes by itself as the worker goes on
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Round 1 is ready to label", timeout=WORK_MS
    )
    tab_to(page, "Label")
    page.keyboard.press("Enter")
    for key, done in (("1", 1), ("2", 2), ("3", 3), ("1", 4)):
        expect(page.locator("#pair")).to_be_visible()
        page.keyboard.press(key)
        expect(page.locator("#progress")).to_have_text(f"{done} of 4 in this batch")
    # the tiny model may have learnt already
    rest = re.compile("The batch is complete|No batch is open")
    expect(page.get_by_role("heading", name=rest)).to_be_visible()

    tab_to(page, "See the round")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Round 1 is done", timeout=WORK_MS)
    expect(page.locator(".stages .past")).to_have_count(5)
    expect(page.get_by_role("img", name="Loss")).to_be_visible()

    page.goto(f"/projects/{project}/policies")
    tab_to(page, "Policy 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Policy 1")
    assert [row["choice"] for row in site.answers(project)] == ["left", "right", "tie", "left"]
    with page.expect_download() as download:
        tab_to(page, page.locator("a.button.main").inner_text())
        page.keyboard.press("Enter")
    assert download.value.suggested_filename
