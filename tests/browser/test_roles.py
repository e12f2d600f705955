"""An annotator's, a reviewer's and an admin's day, by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import EMAIL, PASSWORD, Site
from tests.browser.test_journey import tab_to
from tests.browser.test_labelling import press as answer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(280)]


def press(page: Page, name: str, role: str = "link") -> None:
    """Walk to something by Tab, and use it by Enter."""
    tab_to(page, name, role)
    page.keyboard.press("Enter")


def fill(page: Page, name: str, text: str) -> None:
    """Walk to a field by Tab, and write into it in place of what is there."""
    field = page.get_by_label(name, exact=True)
    expect(field).to_be_visible()
    for _ in range(120):
        if field.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    else:
        raise AssertionError(f"{name} is not reached by Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def sign_in(visit: Callable[..., Page], email: str) -> Page:
    """Through the door: the first field has the focus."""
    page = visit("/", sign_in=False)
    page.keyboard.type(email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Projects", level=1)).to_be_visible()
    return page


def person(site: Site, project: str, name: str, role: str) -> dict[str, Any]:
    """Somebody with an account and a role in the project."""
    email = f"{name}@example.com"
    made = site.rest.post("/people", {"email": email, "name": name, "password": PASSWORD})
    site.rest.post(f"/projects/{project}/members", {"person": made["id"], "role": role})
    return dict(made)


def test_an_annotator_labels_says_why_skips_undoes_and_leaves(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.imported("An annotator's day", 3)
    person(site, project, "keys-annotator", "annotator")
    page = sign_in(visit, "keys-annotator@example.com")
    press(page, "An annotator's day")
    press(page, "Label")
    expect(page.locator("#pair")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("r")
    page.keyboard.type("It says more.")
    page.keyboard.press("Escape")
    answer(page, "1")
    expect(page.locator("#progress")).to_have_text("1 of 3 in this batch")
    answer(page, "2")
    expect(page.locator("#progress")).to_have_text("2 of 3 in this batch")
    page.keyboard.press("u")
    expect(page.locator("#progress")).to_have_text("1 of 3 in this batch")
    answer(page, "3")
    expect(page.locator("#progress")).to_have_text("2 of 3 in this batch")
    answer(page, "s")
    expect(page.locator("#rest h2")).to_be_visible()
    press(page, "Sign out", "button")
    expect(page).to_have_url(re.compile("/sign-in"))
    given = site.answers(project)
    assert sorted(row["choice"] for row in given if row["choice"] != "skip") == ["left", "tie"]
    assert [row["rationale"] for row in given if row["choice"] == "left"] == ["It says more."]


def test_a_reviewer_settles_what_two_people_see_differently(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.imported("A reviewer's day", 1, overlap=2, adjudicate=True)
    for name, wanted in (("one", "a"), ("two", "b")):
        someone = person(site, project, f"keys-{name}", "annotator")
        body = {"name": name, "person": someone["id"], "scope": "annotator", "project": project}
        key = site.rest.post("/keys", body)["key"]
        rest = type(site.rest)(site.address, key)
        (claim,) = rest.post(f"/projects/{project}/claims", {"count": 1})["items"]
        left = "left" if claim["left"].startswith("Answer A") == (wanted == "a") else "right"
        rest.post(f"/claims/{claim['id']}/preference", {"choice": left})
    (round,) = site.rest.get(f"/projects/{project}/rounds")["items"]
    assert round["state"] == "labelling"
    person(site, project, "keys-reviewer", "reviewer")
    page = sign_in(visit, "keys-reviewer@example.com")
    press(page, "A reviewer's day")
    press(page, "Label")
    expect(page.locator("#pair")).to_be_visible()
    page.keyboard.press("1")
    expect(
        page.get_by_role("heading", name=re.compile("batch is complete|No batch"))
    ).to_be_visible()
    press(page, "See the round")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Round 1")
    assert len(site.answers(project)) == 3
    assert site.rest.get(f"/rounds/{round['id']}")["state"] != "labelling"


def test_an_admin_makes_a_project_gives_it_prompts_and_people_and_looks_at_the_log(
    site: Site, visit: Callable[..., Page]
) -> None:
    site.rest.post(
        "/people", {"email": "keys-new@example.com", "name": "New", "password": PASSWORD}
    )
    page = sign_in(visit, EMAIL)
    press(page, "New project")
    fill(page, "Name", "An admin's day")
    fill(page, "Batch size M", "2")
    press(page, "Make the project", "button")
    expect(page.get_by_role("heading", level=1)).to_have_text("An admin's day")
    press(page, "Import prompts")
    fill(page, "Or paste them here", "Why is the sea salty?")
    press(page, "Import prompts", "button")
    expect(page.get_by_role("status")).to_contain_text("1 added")
    press(page, "People", "link")
    expect(page.get_by_role("heading", name="People", level=1)).to_be_visible()
    press(page, "Projects")
    press(page, "An admin's day")
    tab_within(page, "Project", "People")
    fill(page, "E-mail", "keys-new@example.com")
    press(page, "Add", "button")
    expect(page.get_by_role("status")).to_contain_text("Added to the project.")
    tab_within(page, "Project", "Settings")
    fill(page, "Audit share", "0.5")
    press(page, "Store the settings", "button")
    expect(page.get_by_role("status")).to_contain_text("The settings are stored.")
    tab_within(page, "Project", "Log")
    expect(page.get_by_role("region", name="Events")).to_contain_text("Admin")
    press(page, "Sign out", "button")
    expect(page).to_have_url(re.compile("/sign-in"))


def tab_within(page: Page, navigation: str, name: str) -> None:
    """Use a link of one navigation by Tab and Enter; another may have one of the same name."""
    wanted = page.get_by_role("navigation", name=navigation).get_by_role(
        "link", name=name, exact=True
    )
    expect(wanted).to_be_visible()
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached by Tab")
