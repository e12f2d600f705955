"""Time at the page, by a clock that the test turns: who is away does not work, who works rests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_labelling import through
from tests.browser.test_leases import HIDDEN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

MINUTE = 60_000
TURNED = "document.dispatchEvent(new Event('visibilitychange'))"


def standing_still(page: Page, path: str) -> None:
    """Open a page on which time passes only as the test says."""
    page.clock.install()
    page.goto(path)
    expect(page.locator("#pair")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.clock.pause_at(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1))
    page.mouse.move(5, 5)


@pytest.mark.parametrize(
    ("how", "counted"), [("reading", 40), ("away", 60), ("elsewhere", 10), ("writing", 90)]
)
def test_time_on_a_pair_leaves_idle_time_out(
    site: Site, visit: Callable[..., Page], how: str, counted: float
) -> None:
    project = site.imported(f"Time, {how}", 3)
    page = visit("/projects")
    standing_still(page, f"/projects/{project}/label")
    page.keyboard.press("1")  # the time of the second pair is looked at
    through(page)
    match how:
        case "reading":
            page.clock.fast_forward(40_000)
        case "away":  # an hour without a sign of life is a minute
            page.clock.fast_forward(60 * MINUTE)
        case "elsewhere":  # another tab does not count at all
            page.clock.fast_forward(10_000)
            page.evaluate(HIDDEN, True)
            page.evaluate(TURNED)
            page.clock.fast_forward(60 * MINUTE)
            page.evaluate(HIDDEN, False)
            page.evaluate(TURNED)
        case _:
            for _ in range(2):
                page.clock.fast_forward(45_000)
                page.mouse.wheel(0, 1)
                page.keyboard.press("d")
    page.keyboard.press("2")
    page.clock.resume()
    through(page)
    said = {row["choice"]: row["seconds"] for row in site.answers(project)}
    assert said["right"] == pytest.approx(counted, abs=0.2)


def test_who_works_long_is_told_to_rest_and_a_pause_is_one(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.imported("Break", 2, break_minutes=10)
    page = visit("/projects")
    standing_still(page, f"/projects/{project}/label")

    def work(minutes: int) -> None:
        for _ in range(minutes):
            page.clock.run_for(MINUTE)
            page.keyboard.press("d")

    work(9)
    page.clock.fast_forward(10 * MINUTE)  # a pause
    page.keyboard.press("d")
    work(9)
    expect(page.locator("#note")).to_be_hidden()
    work(2)
    expect(page.locator("#note")).to_contain_text("short break")
    assert page.locator("#pair").is_visible()
    page.locator("#note").get_by_role("button").click()
    work(9)
    expect(page.locator("#note")).to_be_hidden()
    work(2)
    expect(page.locator("#note")).to_contain_text("short break")
