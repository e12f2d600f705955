"""One's own keys choose, the old ones do no more, and none does anything in a text field."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_labelling import shown, through

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def test_keys_are_chosen_and_used(site: Site, visit: Callable[..., Page]) -> None:
    project = site.imported("Own keys", 4)
    page = visit("/account/shortcuts")
    page.get_by_label("Left is better").fill("ArrowLeft")
    page.get_by_label("Undo").fill("j")
    page.get_by_label("Far better").fill("k")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your keys are stored.")).to_be_visible()
    try:
        page.goto(f"/projects/{project}/label")
        expect(page.get_by_role("button", name="Left")).to_contain_text("←")
        first = shown(page)
        page.keyboard.press("1")  # nobody's key any more
        page.keyboard.press("u")
        assert shown(page) == first
        page.keyboard.press("k")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#prompt-text")).not_to_have_text(first)
        page.keyboard.press("J")  # with caps lock on
        expect(page.locator("#prompt-text")).to_have_text(first)
        page.keyboard.press("r")
        page.keyboard.type("jk 2?")
        page.keyboard.press("ArrowLeft")
        assert shown(page) == first
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowLeft")
        through(page)
        (row,) = site.answers(project)
        assert (row["choice"], row["strength"], row["rationale"]) == ("left", 3, "jk 2?")
    finally:
        site.rest.ask("PUT", "/me/shortcuts", json={})  # the admin of every other test
