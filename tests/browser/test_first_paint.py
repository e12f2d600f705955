"""The first pair stands on the page as it comes: what is done before the script is there counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Site
from tests.browser.test_labelling import press, shown, through

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


@contextmanager
def before_the_script(page: Page, project: str) -> Iterator[str]:
    """The labelling page as painted, its script still on its way; the prompt that stands there."""
    held: list[Route] = []
    page.route("**/labelling/main.js*", lambda route: held.append(route))
    page.goto(f"/projects/{project}/label", wait_until="commit")
    expect(page.locator("#pair .side").first).to_be_visible()
    yield shown(page)
    held[0].continue_()


@pytest.fixture
def opened(site: Site, visit: Callable[..., Page]) -> Callable[..., tuple[str, Page]]:
    def make(name: str, pairs: int = 4) -> tuple[str, Page]:
        return site.imported(name, pairs), visit("/projects")

    return make


def test_a_key_before_the_script_is_an_answer(site: Site, opened: Any) -> None:
    project, page = opened("Early key")
    with before_the_script(page, project) as first:
        page.keyboard.press("2")
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    through(page)
    (row,) = site.answers(project)
    assert (row["choice"], row["prompt"]) == ("right", first)


def test_of_two_keys_before_the_script_only_the_first_is_one(site: Site, opened: Any) -> None:
    project, page = opened("Early keys")
    with before_the_script(page, project) as first:
        page.keyboard.down("3")
        page.keyboard.down("3")  # held
        page.keyboard.up("3")
        page.keyboard.press("1")
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    press(page, "4")  # from here on each counts again
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["tie", "both_bad"]


def test_letters_behind_an_early_key_for_a_field_choose_nothing(site: Site, opened: Any) -> None:
    project, page = opened("Early words")
    with before_the_script(page, project) as first:
        page.keyboard.press("d")
        page.keyboard.press("r")
        page.keyboard.type("1 is better")
    expect(page.locator("#why")).to_be_focused()
    assert page.locator("mark").count() > 0
    assert shown(page) == first
    assert site.answers(project) == []


def test_a_click_before_the_script_is_an_answer(site: Site, opened: Any) -> None:
    project, page = opened("Early click")
    page.route("**/labelling/main.js*", lambda route: None)  # it never comes
    page.goto(f"/projects/{project}/label", wait_until="commit")
    first = shown(page)
    page.locator("[data-choice=tie]").click(no_wait_after=True)
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    assert [row["choice"] for row in site.answers(project)] == ["tie"]


def test_a_batch_is_labelled_without_javascript(site: Site, visit: Callable[..., Page]) -> None:
    project = site.imported("No script", 2, require_rationale=True)
    page = visit(f"/projects/{project}/label", java_script_enabled=False)
    page.get_by_label("Clearly").check()
    page.get_by_label("Broken").check()
    page.get_by_label("Why").fill("It says\nmore.")
    page.get_by_role("button", name="Left").click()
    page.get_by_label("Why").fill("No idea.")
    page.get_by_role("button", name="Skip").click()
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()
    said = site.answers(project)
    assert [(row["choice"], row["strength"], row["rationale"]) for row in said] == [
        ("left", 2, "It says\nmore."),
        ("skip", None, None),
    ]
