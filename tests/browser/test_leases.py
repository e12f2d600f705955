"""Who reads a pair keeps it; who was away too long is told so, and given the next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import Site
from tests.browser.test_labelling import press, shown, through
from tests.driver import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

LEASE = 5  # seconds, the least there is
HIDDEN = "hidden => Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})"


def is_renewal(response: Response) -> bool:
    return response.url.endswith("/renew")


def test_who_reads_longer_than_a_lease_keeps_the_pair(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.imported("Read on", 1, claim_seconds=LEASE)
    page = visit(f"/projects/{project}/label")
    expect(page.locator("#pair")).to_be_visible()
    (held,) = site.rest.get(f"/projects/{project}/claims")["items"]
    long = dt.datetime.fromisoformat(held["expires_at"]) + dt.timedelta(seconds=LEASE)
    while True:
        with page.expect_response(is_renewal) as renewal:
            pass
        assert renewal.value.status == 200
        if dt.datetime.fromisoformat(renewal.value.json()["expires_at"]) > long:
            break
    colleague = site.colleague(project)
    assert colleague.post(f"/projects/{project}/claims", {"count": 1})["items"] == []
    page.keyboard.press("2")
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["right"]


def take(who: Visitor, project: str, prompt: str) -> Any:
    """Claim until this pair is there, waiting for leases to run out; the others go back."""
    path, others = f"/projects/{project}/claims", []
    while True:
        (claim,) = who.post(path, {"count": 1, "wait": 60})["items"]
        if claim["prompt"] == prompt:
            break
        others.append(claim)
    for other in others:
        who.post(f"/claims/{other['id']}/release")
    return claim


@pytest.mark.parametrize("how", ["idle", "hidden"])
def test_who_was_away_is_told_that_the_pair_went_to_somebody_else(
    site: Site, visit: Callable[..., Page], how: str
) -> None:
    project = site.imported(f"Away, {how}", 2, claim_seconds=LEASE)
    page = visit("/projects")
    page.clock.install()
    page.goto(f"/projects/{project}/label")
    expect(page.locator("#pair")).to_be_visible()
    first = shown(page)
    if how == "hidden":
        page.evaluate(HIDDEN, True)
    else:
        page.clock.fast_forward(6 * 60_000)
    colleague = site.colleague(project)
    # what the colleague takes is held for long
    site.rest.ask("PATCH", f"/projects/{project}", json={"claim_seconds": 300}).raise_for_status()
    taken = take(colleague, project, first)
    assert shown(page) == first

    if how == "hidden":
        page.evaluate(HIDDEN, False)
    page.mouse.move(300, 300)  # here again
    expect(page.locator("#note")).to_contain_text("given to someone else")
    # what the colleague gave back comes when the page asks again, every four seconds
    expect(page.locator("#prompt-text")).not_to_have_text(first, timeout=20_000)
    press(page, "1")
    through(page)
    colleague.post(f"/claims/{taken['id']}/preference", {"choice": "tie"})
    assert sorted(row["choice"] for row in site.answers(project)) == ["left", "tie"]


def test_what_is_answered_is_not_given_back_on_leaving(
    site: Site, visit: Callable[..., Page]
) -> None:
    project = site.imported("Leave at once", 3)
    page = visit(f"/projects/{project}/label")
    expect(page.locator("#pair")).to_be_visible()
    page.keyboard.press("3")
    page.goto("/projects")
    page.goto(f"/projects/{project}/label")  # what was cut off on its way is sent by this visit
    through(page)
    assert [row["choice"] for row in site.answers(project)] == ["tie"]
