"""Blind evaluations and the playground in a real browser: opened, answered by keys, open to all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_access import violations
from tests.browser.test_labelling import through

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LONG = "An answer that goes on and on, with a_very_long_word_that_never_breaks_" * 3


@pytest.fixture(scope="module")
def project(site: Site) -> str:
    """A project with twelve eval prompts and two models' outputs."""
    made = str(site.rest.post("/projects", {"name": "Duel", "base_model": site.model})["id"])
    prompts = [f"Question {n}?" for n in range(11)] + ["سؤال أخير؟"]
    given = [{"prompt": text, "split": "eval"} for text in prompts]
    site.rest.post(f"/projects/{made}/prompts", {"prompts": given})
    for name in ("ours", "theirs"):
        rows = [
            {"prompt": text, "completion": f"{name} {n} {LONG if n == 1 else ''}"}
            for n, text in enumerate(prompts)
        ]
        answer = site.rest.ask(
            "POST", f"/projects/{made}/outputs", params={"name": name}, json={"outputs": rows}
        )
        assert answer.status_code == 201, answer.text
    return made


def shot(page: Page, name: str) -> None:
    """A picture for whoever wants to look: into the folder that SHOTS names."""
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_an_evaluation_is_opened_and_decided_by_keys_alone(
    site: Site, visit: Callable[..., Page], project: str
) -> None:
    page = visit(f"/projects/{project}/evaluations")
    page.get_by_label("Side A").focus()
    page.keyboard.type("Outputs: ours")
    page.get_by_label("Side B").focus()
    page.keyboard.type("Outputs: theirs")
    page.get_by_role("button", name="Open the evaluation").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Evaluation 1: ours against theirs")
    evaluation = page.url
    page.goto(f"/projects/{project}/label")
    expect(page.locator("#progress")).to_have_text("0 of 12 in this batch")
    for n in range(8):
        expect(page.locator("#pair")).to_be_visible()
        left = page.locator("#left").inner_text()
        page.keyboard.press("1" if left.startswith("ours") else "2")
        if n < 7:
            expect(page.locator("#progress")).to_have_text(f"{n + 1} of 12 in this batch")
    through(page)
    page.goto(evaluation)
    expect(page.locator(".notice.good")).to_contain_text("ours is better.")
    assert site.rest.everything(f"/projects/{project}/preferences") == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]
)
def test_its_pages_are_open_to_everybody_and_fit(
    site: Site, visit: Callable[..., Page], project: str, width: int, scheme: str
) -> None:
    (evaluation, *_) = site.rest.get(f"/projects/{project}/evaluations")["items"]
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = visit("/projects", bypass_csp=True, **options)
    for name, path in (
        ("evaluations", f"/projects/{project}/evaluations"),
        ("evaluation", f"/evaluations/{evaluation['id']}"),
        ("playground", f"/projects/{project}/playground"),
        ("home", f"/projects/{project}"),
        ("delete", f"/projects/{project}/delete"),
    ):
        page.goto(path)
        shot(page, f"{name}-{width}-{scheme}")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_two_policies_answer_in_the_playground(
    site: Site, visit: Callable[..., Page], project: str
) -> None:
    page = visit(f"/projects/{project}/playground", bypass_csp=True)
    page.get_by_label("Prompt", exact=True).fill("Say something")
    page.get_by_label("Longest answer, in tokens").fill("8")
    page.get_by_role("button", name="Let them answer").click()
    expect(page.locator("#answers .halves")).to_be_visible(timeout=120_000)
    shot(page, "answers")
    assert violations(page) == []
