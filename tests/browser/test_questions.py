"""The project's further questions on the labelling page: by keys alone, wanted ones first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_access import violations
from tests.browser.test_labelling import press, shown, through

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

ASKED = [
    {"name": "tone", "title": "What tone?", "kind": "single", "options": ["warm", "cold"]},
    {"name": "faults", "title": "Which faults?", "kind": "multi", "options": ["long", "wrong"]},
    {"name": "help", "title": "How helpful?", "kind": "rating", "scale": 10, "required": True},
    {"name": "note", "title": "<b>Anything</b> else?", "kind": "text"},
]


def opened(site: Site, visit: Callable[..., Page], name: str, asked: Any, **more: Any) -> Any:
    project = site.imported(name, 3, questions=asked)
    page = visit(f"/projects/{project}/label", **more)
    expect(page.locator("#extras")).to_be_visible()
    return project, page


def test_all_kinds_are_answered_by_keys_and_come_back_on_undo(
    site: Site, visit: Callable[..., Page]
) -> None:
    project, page = opened(site, visit, "Asks all", ASKED)
    page.keyboard.press("q")
    page.keyboard.press("2")  # cold, and on to the faults
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("1")  # not long after all
    page.keyboard.press("Enter")
    page.keyboard.press("0")  # the tenth mark, and on to the text
    page.keyboard.type("1 is no key here")
    page.keyboard.press("Escape")
    assert site.answers(project) == []
    page.keyboard.press("1")
    through(page)
    said = {"tone": "cold", "faults": ["wrong"], "help": 10, "note": "1 is no key here"}
    assert [(row["choice"], row["answers"]) for row in site.answers(project)] == [("left", said)]
    expect(page.get_by_role("radio", name="cold", exact=True)).not_to_be_checked()
    page.keyboard.press("u")
    expect(page.get_by_role("radio", name="cold", exact=True)).to_be_checked()
    expect(page.get_by_role("checkbox", name="wrong", exact=True)).to_be_checked()
    expect(page.get_by_label("10", exact=True)).to_be_checked()
    expect(page.locator("[data-kind=text] textarea")).to_have_value("1 is no key here")


def test_what_is_wanted_is_asked_for_and_its_answer_sends_the_choice(
    site: Site, visit: Callable[..., Page]
) -> None:
    project, page = opened(site, visit, "Asks one", [ASKED[0] | {"required": True}])
    first = shown(page)
    page.keyboard.press("3")
    expect(page.locator("#note")).to_contain_text("What tone?")
    expect(page.get_by_label("warm")).to_be_focused()
    assert shown(page) == first
    page.keyboard.press("1")
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    press(page, "s")  # a skip wants nothing
    through(page)
    said = [(row["choice"], row["answers"]) for row in site.answers(project)]
    assert said == [("tie", {"tone": "warm"}), ("skip", {})]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_questions_are_open_to_everybody_and_fit(
    site: Site, visit: Callable[..., Page], width: int, scheme: str
) -> None:
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    project, page = opened(site, visit, f"Asks {width}", ASKED, bypass_csp=True, **look)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"/projects/{project}/settings")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
