"""Every page in a real browser: nothing that keeps people out, nothing wider than the screen."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import EMAIL, PASSWORD, Site
from tests.browser.test_labelling import press
from tests.security.rules import RULES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(200)]

AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
SHOTS = os.environ.get("SCREENSHOTS")
"""A folder: every page is put there as a picture, to be looked at."""
BESIDES = (
    "/projects/{project_id}/practice?begin=1",
    "/projects/{project_id}/gold?pair={pair_id}",
    "/projects/{texts_id}/label",
    "/rounds/{texts_round_id}",
    "/docs",
    "/invitation?link={link}",
)
"""States of pages that their plain address does not show."""
HEBREW = "למה הים מלוח? " * 12
ARABIC = "البحر مالح لأن الأنهار تحمل الأملاح. " * 8
LONG = "An answer with averylongword" + "x" * 300 + ", and more of it. " * 200
CODE = "```python\n" + "print('a line that is far wider than any phone', 1, 2, 3, 4)\n" * 8 + "```"
TEXTS = (
    (HEBREW, ARABIC, LONG),
    (CODE, LONG, CODE),
    ("Say nothing.", "", "   "),
    (LONG, CODE, ARABIC),
)
SHORT = ("Short.", ".", "-")


def pages() -> list[str]:
    """Every GET route that a browser may ask for, from the table that the matrix checks."""
    routes = [name.split()[1] for name in RULES if name.startswith("GET ")]
    endless = {name.split()[1] for name, rule in RULES.items() if rule.endless}
    return sorted(route for route in {*routes} - endless if not route.startswith("/api/"))


@pytest.fixture(scope="module")
def ids(site: Site) -> dict[str, str]:
    """What is put into the addresses: a project in the middle of its work, one with odd texts."""
    project = site.imported("Pages", 4)
    person = site.rest.get("/people")["items"][0]["id"]
    (claim,) = site.rest.post(f"/projects/{project}/claims", {"count": 1})["items"]
    pair = site.rest.post(f"/claims/{claim['id']}/preference", {"choice": "left"})["pair"]
    site.rest.post(f"/projects/{project}/gold", {"pair": pair})
    site.practice(project)
    settings = {"name": "Texts", "base_model": site.model, "source": "imported", "batch_size": 4}
    more = {"acquisition": "random", "guidelines": LONG}
    texts = str(site.rest.post("/projects", settings | more)["id"])
    shown = [*(one for one in TEXTS if one[1].strip()), SHORT]
    rows = [{"prompt": p, "completion_a": a, "completion_b": b} for p, a, b in shown]
    site.rest.post(f"/projects/{texts}/pairs", {"pairs": rows})
    site.rest.post(f"/projects/{texts}/rounds")

    def first(path: str) -> str:
        return str(site.rest.get(path)["items"][0]["id"])

    site.rest.post("/groups", {"name": "Harbour"})
    site.rest.post(f"/projects/{project}/groups", {"name": "Harbour"})
    invited = site.rest.post(f"/projects/{project}/invitations", {"role": "reviewer"})
    return {
        "link": invited["token"],
        "project_id": project,
        "texts_id": texts,
        "round_id": first(f"/projects/{project}/rounds"),
        "texts_round_id": first(f"/projects/{texts}/rounds"),
        "policy_id": first(f"/projects/{project}/policies"),
        "person_id": person,
        "pair_id": pair,
        "kept_id": sent_to_look_at(site, project),
        "evaluation_id": compared(site, project),
        "trial_id": pair,  # part of the playground's page, and no page
    }


def compared(
    site: Site,
    project: str,
    prompts: Sequence[str] = ("Say 0.", "Say 1.", "Say 2."),
    names: Sequence[str] = ("ours", "theirs"),
) -> str:
    """An evaluation of two models' outputs that waits for people."""
    asked = [{"prompt": text, "split": "eval"} for text in prompts]
    site.rest.post(f"/projects/{project}/prompts", {"prompts": asked})
    sides = []
    for name in names:
        rows = [{"prompt": one["prompt"], "completion": f"{name} {one['prompt']}"} for one in asked]
        made = site.rest.post(f"/projects/{project}/outputs?name={quote(name)}", {"outputs": rows})
        sides.append({"outputs": made["id"]})
    body = {"a": sides[0], "b": sides[1]}
    return str(site.rest.post(f"/projects/{project}/evaluations", body)["id"])


def sent_to_look_at(
    site: Site,
    project: str,
    texts: Sequence[tuple[str, str, str]] = TEXTS,
    name: str = "odd.jsonl",
) -> str:
    """A file of pairs, some of them odd and one to be refused, as the import page keeps it."""
    rows = [{"prompt": p, "chosen": a, "rejected": b} for p, a, b in texts]
    lines = "\n".join(map(json.dumps, rows)).encode()
    page = f"/projects/{project}/import"
    with httpx.Client(base_url=site.address, headers={"Accept": "text/html"}) as browser:
        browser.post("/sign-in", data={"email": EMAIL, "password": PASSWORD})
        found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page).text)
        assert found is not None
        form = {"csrf_token": found[1], "step": "look", "labels": "on"}
        sent = browser.post(f"{page}/pairs", data=form, files={"file": (name, lines)})
    assert sent.status_code == 303, sent.text
    return sent.headers["Location"].partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="module")
def addresses(site: Site, ids: dict[str, str]) -> list[str]:
    """Where the pages are: what answers with a whole document of HTML.

    A page with another name in its address needs it in ``ids``: else this fails.
    """
    routes = [*pages(), *BESIDES]
    known = [route.format_map(_Known(ids)) for route in routes]
    with httpx.Client(base_url=site.address, headers={"Accept": "text/html"}) as browser:
        door = {"email": EMAIL, "password": PASSWORD}
        assert browser.post("/sign-in", data=door).status_code == 303
        found = [path for path in known if _is_page(browser.get(path))]
    assert len(found) > 30
    return found


class _Known(dict[str, str]):
    """The ids; of a name that is not among them the test says where to put it."""

    def __missing__(self, name: str) -> str:
        raise AssertionError(f"say in ids of tests/browser/test_access.py what {name} is")


def _is_page(answer: httpx.Response) -> bool:
    kind = answer.headers.get("Content-Type", "")
    whole = kind.startswith("text/html") and "<html" in answer.text
    return answer.status_code == 200 and whole


def violations(page: Page) -> list[str]:
    """What axe finds, with where."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url}: {one['id']}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(1440, "light", "de"), (1440, "dark", "en"), (360, "light", "de"), (360, "dark", "en")],
)
def test_every_page_is_open_to_everybody_and_fits(
    visit: Callable[..., Page], addresses: list[str], width: int, scheme: str, language: str
) -> None:
    # axe is put in by evaluate, which our own policy for scripts would refuse
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page = visit("/projects", bypass_csp=True, locale=language, reduced_motion="reduce", **options)
    wrong: list[str] = []
    for address in addresses:
        _open(page, address)
        _shoot(page, f"{width}-{scheme}-{language}", address)
        wrong += violations(page)
        wrong += _of_the_frame(page, address, language)
        page.evaluate("document.documentElement.dir = 'rtl'")
        wrong += [f"right to left, {one}" for one in _too_wide(page, address)]
        _shoot(page, f"{width}-{scheme}-rtl", address)
    assert not wrong, "\n".join(wrong)


def _open(page: Page, address: str) -> None:
    page.goto(address)
    if "label" in address:
        page.wait_for_load_state("networkidle")


def _of_the_frame(page: Page, address: str, language: str) -> list[str]:
    """The page's language, its width, and that nothing moves for who wants no motion."""
    wrong = _too_wide(page, address)
    if page.evaluate("document.documentElement.lang") != language:
        wrong.append(f"{address}: is not in {language}")
    if page.evaluate("document.getAnimations().length"):
        wrong.append(f"{address}: moves")
    return wrong


def _too_wide(page: Page, address: str) -> list[str]:
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return [] if fits else [f"{address}: is wider than the screen"]


def _shoot(page: Page, kind: str, address: str) -> None:
    if SHOTS:
        name = re.sub(r"[0-9a-f-]{36}", "x", address).strip("/").replace("/", "-") or "front"
        page.screenshot(path=f"{SHOTS}/{kind}/{name}.png", full_page=True)


@pytest.mark.parametrize("width", [1440, 360])
def test_the_door_is_open_to_everybody_and_fits(visit: Callable[..., Page], width: int) -> None:
    options = {"viewport": {"width": width, "height": 800}, "locale": "de"}
    page = visit("/sign-in", sign_in=False, bypass_csp=True, **options)
    _shoot(page, f"{width}-light-de", "/sign-in")
    assert violations(page) == []
    assert _of_the_frame(page, "/sign-in", "de") == []
    page.get_by_label("Sprache").select_option("en")
    page.get_by_role("button", name="Verwenden").press("Enter")
    page.wait_for_function("document.documentElement.lang === 'en'")


def test_texts_are_read_in_their_own_direction(
    visit: Callable[..., Page], ids: dict[str, str]
) -> None:
    page = visit(f"/projects/{ids['texts_id']}/label")
    directions = """() => ["prompt-text", "left", "right"].map((id) => {
      const text = document.querySelector(`#${id} .reading`);
      return [text.textContent.trim().slice(0, 4), getComputedStyle(text).direction];
    })"""
    seen: dict[str, str] = {}
    for done in range(1, 5):
        page.locator("#pair").wait_for()
        seen |= dict(page.evaluate(directions))
        press(page, "3")
        expect(page.locator("#progress")).to_have_text(f"{done} of 4 in this batch")
    assert seen[HEBREW[:4]] == seen[ARABIC[:4]] == "rtl"
    assert seen[LONG[:4]] == "ltr"


def test_left_stays_left_where_the_page_is_written_from_the_right(
    visit: Callable[..., Page], ids: dict[str, str]
) -> None:
    page = visit(f"/projects/{ids['project_id']}/label")
    page.locator("#pair").wait_for()
    page.evaluate("document.documentElement.dir = 'rtl'")
    places = "(ids) => ids.map((id) => document.querySelector(id).getBoundingClientRect().left)"
    left, right = page.evaluate(places, ["#left", "#right"])
    assert left < right
    left, right = page.evaluate(places, ["[data-choice=left]", "[data-choice=right]"])
    assert left < right
    brand, who = page.evaluate(places, [".brand", ".who"])
    assert brand > who, "the frame is turned"


def test_the_theme_is_chosen_and_kept(visit: Callable[..., Page]) -> None:
    page = visit("/projects", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Use dark colours").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(ground) == light
