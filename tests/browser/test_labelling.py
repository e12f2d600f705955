"""The labelling page: one press is one answer, whatever the key, the hand and the network do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import EMAIL, PASSWORD, Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]


def through(page: Page) -> None:
    """Wait until every answer has arrived: none is kept in the browser any more."""
    kept = "Object.keys(localStorage).filter(k => k.startsWith('activedpo.answer')).length"
    for _ in range(300):
        if page.evaluate(kept) == 0:
            return
        page.wait_for_timeout(100)
    raise AssertionError("answers are still waiting")


def press(page: Page, key: str) -> None:
    """Answer by a key the pair that is there, or is about to come."""
    expect(page.locator("#pair")).to_be_visible(timeout=20_000)
    page.keyboard.press(key)


def shown(page: Page) -> str:
    """The prompt that stands on the page."""
    return page.locator("#prompt-text").inner_text()


@pytest.fixture
def label(site: Site, visit: Callable[..., Page]) -> Callable[..., tuple[str, Page]]:
    """Makes a project of imported pairs and opens its labelling page."""

    def make(name: str, pairs: int, **options: Any) -> tuple[str, Page]:
        project = site.imported(name, pairs)
        page = visit(f"/projects/{project}/label", **options)
        expect(page.locator("#pair")).to_be_visible()
        return project, page

    return make


def test_a_held_key_is_one_answer_and_sixty_presses_are_sixty(site: Site, label: Any) -> None:
    project, page = label("Held", 60)
    for n in range(60):
        expect(page.locator("#progress")).to_have_text(f"{n} of 60 in this batch")
        expect(page.locator("#pair")).to_be_visible()
        page.keyboard.down("1")
        for _ in range(4):
            page.keyboard.down("1")  # the key repeats while it is held
        page.keyboard.up("1")
    through(page)
    answers = site.answers(project)
    assert len(answers) == 60
    assert set(Counter(row["pair"] for row in answers).values()) == {1}
    assert {row["choice"] for row in answers} == {"left"}


def test_the_next_pair_is_there_before_the_answer_has_arrived(site: Site, label: Any) -> None:
    project, page = label("Ahead", 12)
    held: list[Route] = []
    page.route("**/preference", lambda route: held.append(route))
    first = shown(page)
    page.keyboard.press("1")
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    assert len(site.answers(project)) == 0
    held[0].continue_()
    through(page)
    assert len(site.answers(project)) == 1


def test_undo_brings_the_pair_back_and_the_new_answer_stands(site: Site, label: Any) -> None:
    project, page = label("Undo", 8)
    first = shown(page)
    page.keyboard.press("1")
    second = shown(page)
    assert second != first
    page.keyboard.press("u")
    assert shown(page) == first
    page.keyboard.press("2")
    assert shown(page) == second
    page.keyboard.press("3")
    page.locator("#undo").click()
    assert shown(page) == second
    page.keyboard.press("s")
    through(page)
    # everybody there is has skipped it and no other is left: the batch shrinks
    expect(page.locator("#progress")).to_have_text("1 of 7 in this batch")
    assert [row["choice"] for row in site.answers(project)] == ["right", "skip"]


def test_five_answers_without_a_network_arrive_exactly_once(site: Site, label: Any) -> None:
    project, page = label("Offline", 24)
    page.context.set_offline(True)
    given = 0
    while page.locator("#pair").is_visible() and given < 4:
        page.keyboard.press("2")
        given += 1
    expect(page.locator("#waiting")).to_contain_text("for the network")
    assert site.answers(project) == []
    page.context.set_offline(False)
    through(page)
    expect(page.locator("#waiting")).to_have_text("")
    answers = site.answers(project)
    assert len(answers) == given
    assert set(Counter(row["pair"] for row in answers).values()) == {1}


def test_an_answer_that_was_on_its_way_survives_a_reload(site: Site, label: Any) -> None:
    project, page = label("Reload", 8)
    page.route("**/preference", lambda route: route.abort())
    page.keyboard.press("3")
    expect(page.locator("#waiting")).to_contain_text("1 answer waits")
    page.unroute("**/preference")
    page.reload()
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["tie"]


def test_a_session_that_ends_loses_no_answer(site: Site, label: Any) -> None:
    project, page = label("Signed out", 6)
    page.context.clear_cookies()
    page.keyboard.press("2")
    expect(page.locator("#note")).to_contain_text("signed out")
    page.locator("#note").get_by_role("link").click()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#pair")).to_be_visible()
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["right"]


def test_going_back_shows_each_pair_with_its_own_draft(site: Site, label: Any) -> None:
    project, page = label("Drafts", 6)
    page.keyboard.press("r")
    page.keyboard.type("of the first")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.locator("#why")).to_have_value("")
    page.keyboard.press("r")
    page.keyboard.type("of the second")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator("#why")).to_have_value("of the first")
    page.keyboard.press("2")
    expect(page.locator("#why")).to_have_value("of the second")
    page.keyboard.press("3")
    through(page)
    said = [(row["choice"], row["rationale"]) for row in site.answers(project)]
    assert sorted(said) == [("right", "of the first"), ("tie", "of the second")]


def test_a_skip_is_taken_back(site: Site, label: Any) -> None:
    project, page = label("Unskip", 6)
    first = shown(page)
    page.keyboard.press("s")
    expect(page.locator("#prompt-text")).not_to_have_text(first)
    page.keyboard.press("u")
    expect(page.locator("#prompt-text")).to_have_text(first)
    page.keyboard.press("4")
    through(page)
    (row,) = site.answers(project)
    assert (row["choice"], row["prompt"]) == ("both_bad", first.strip())


def test_keys_do_nothing_while_help_is_open_or_with_a_modifier(site: Site, label: Any) -> None:
    project, page = label("Help", 8)
    first = shown(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Control+1")
    page.keyboard.press("Alt+2")
    assert shown(page) == first
    page.evaluate("document.body.append(document.createElement('input'))")
    page.locator("body > input").press("1")
    assert shown(page) == first
    assert site.answers(project) == []


def test_leaving_gives_the_pairs_back(site: Site, label: Any) -> None:
    project, page = label("Leave", 4)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # the pair behind the first one is claimed by then
    assert site.rest.get(f"/projects/{project}/claims")["items"]
    page.goto("/projects")
    for _ in range(100):
        if not site.rest.get(f"/projects/{project}/claims")["items"]:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the pairs are still held")


def test_a_thumb_can_do_it_all_on_a_phone(site: Site, label: Any) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    project, page = label("Phone", 4, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for name in ("First", "Second"):
        page.get_by_role("button", name=name, exact=True).tap()
    page.get_by_role("button", name="Undo").tap()
    page.get_by_role("button", name="Both bad").tap()
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["left", "both_bad"]
    for button in page.locator(".choices button:visible").all():
        assert button.bounding_box()["height"] >= 44  # type: ignore[index]


def test_texts_are_never_markup(site: Site, visit: Callable[..., Page]) -> None:
    project = site.imported("Markup", 0 + 1)
    evil = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    pair = {"prompt": evil, "completion_a": f"{evil} a", "completion_b": f"{evil} b"}
    site.rest.post(f"/projects/{project}/pairs", {"pairs": [pair]})
    page = visit(f"/projects/{project}/label")
    expect(page.locator("#pair")).to_be_visible()
    page.keyboard.press("1")
    through(page)
    rounds = site.rest.get(f"/projects/{project}/rounds")["items"]
    site.rest.post(f"/rounds/{rounds[-1]['id']}/cancel")
    site.rest.post(f"/projects/{project}/rounds")
    expect(page.locator("#prompt-text")).to_have_text(evil, timeout=30_000)
    assert page.locator("#pair img, #pair b").count() == 0
    assert page.title().startswith("Label")
