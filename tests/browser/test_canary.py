"""Hostile texts in every field that is shown, opened in a real browser: nothing of them runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_access import compared, sent_to_look_at
from tests.driver import wait_until
from tests.security.rules import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

FIRE = "__canary=1"
CANARIES = (
    f"<script>{FIRE}</script><b data-canary>",
    f"<img src=x data-canary onerror='{FIRE}'>",
    f"\"'><svg data-canary onload={FIRE}>",
    f'</textarea></title></script><iframe data-canary srcdoc="<script>parent.{FIRE}</script>">',
    f"[click](javascript:{FIRE}) <a data-canary href='javascript:{FIRE}'>x</a>",
    "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7*7 %>",
    "`</code></pre><details open data-canary ontoggle=" + FIRE + ">",
    "\u202eright to left\u202c \u0000"[:-1] + "<style data-canary>*{display:none}</style>",
)
ALL = " ".join(CANARIES)
# one sends on who is inside, one is no page, three are downloads, two need a provider, two a link
FRAGMENTS = (
    "/sign-in",
    "/demo/progress",
    "/account/data",
    "/people/{person_id}/data",
    "/sign-in/oidc",
    "/sign-in/oidc/callback",
    "/invitation",
    "/password",
    "/projects/{project_id}/import/refused/{kept_id}",
)


@pytest.fixture(scope="module")
def ids(site: Site) -> dict[str, str]:
    """A project that is hostile in every field, with a round that is done; ids for the pages."""
    rest = site.rest
    wanted = {
        "name": CANARIES[1][:60] + uuid.uuid4().hex[:6],
        "base_model": site.model,
        "source": "imported",
        "acquisition": "random",
        "batch_size": 4,
        "system_prompt": CANARIES[0],
        "guidelines": "\n\n".join(CANARIES),
        "training": {"max_steps": 1, "lora": 2},
    }
    project = str(rest.post("/projects", wanted)["id"])
    count = len(CANARIES)  # the tiny model counts bytes: one canary a text
    pairs = [
        {
            "prompt": CANARIES[n],
            "completion_a": CANARIES[(n + 1) % count],
            "completion_b": CANARIES[(n + 2) % count],
            "external_id": CANARIES[n],
        }
        for n in range(count)
    ]
    rest.post(f"/projects/{project}/pairs", {"pairs": pairs})
    known = {**pairs[3], "completion_a": CANARIES[0], "gold": True, "answer": "a"}
    rest.post(f"/projects/{project}/pairs", {"pairs": [{**known, "explanation": ALL}]})
    rest.post(
        f"/projects/{project}/prompts",
        {"prompts": [{"prompt": f"eval {CANARIES[1]}", "split": "eval"}]},
    )
    learnt = {**pairs[5], "answer": "a", "explanation": ALL}
    del learnt["external_id"]
    rest.ask("PUT", f"/projects/{project}/practice-pairs", json={"pairs": [learnt]})
    person = rest.post("/people", {"email": "canary@example.com", "name": ALL[:200]})["id"]
    rest.post(f"/projects/{project}/members", {"email": "canary@example.com", "role": "annotator"})
    rest.post("/keys", {"name": ALL[:200], "scope": "annotator", "project": project})
    round_id = _done_round(site, project)
    policy = rest.get(f"/rounds/{round_id}")["policy_out"]
    texts = [(one["prompt"], one["completion_a"], one["completion_b"]) for one in pairs]
    wrong = CANARIES[2], "", " "  # is refused, with what it holds
    return {
        "project_id": project,
        "round_id": round_id,
        "policy_id": policy,
        "person_id": person,
        "pair_id": rest.everything(f"/projects/{project}/preferences")[0]["pair"],
        "kept_id": sent_to_look_at(site, project, [*texts, wrong], f"{CANARIES[1]}.jsonl"),
        "evaluation_id": compared(
            site, project, [f"asked {one}" for one in CANARIES], (CANARIES[1], CANARIES[2])
        ),
        "trial_id": _trial(site, project, policy),
    }


def _trial(site: Site, project: str, policy: str) -> str:
    """An answered trial of the playground, of a hostile prompt."""
    body = {"prompt": CANARIES[3], "a": policy, "b": policy, "max_new_tokens": 4}
    trial = str(site.rest.post(f"/projects/{project}/trials", body)["id"])
    wait_until(lambda: site.rest.get(f"/trials/{trial}")["state"] != "waiting", "the trial")
    return trial


def _done_round(site: Site, project: str) -> str:
    rest = site.rest
    round_id = rest.open_round(project)
    for claim in rest.post(f"/projects/{project}/claims", {"count": 4})["items"]:
        answer = {
            "choice": "left",
            "rationale": ALL,
            "judge": {"name": ALL[:200], "version": CANARIES[0], "prompt_hash": CANARIES[1]},
        }
        rest.post(f"/claims/{claim['id']}/preference", answer)
    rest.wait_for(round_id, "done")
    rest.open_round(project)  # so that there is something to label
    return round_id


def _unharmed(page: Page) -> None:
    assert page.evaluate("window.__canary") is None, page.url
    assert page.locator("[data-canary]").count() == 0, f"markup came to life on {page.url}"


def test_no_canary_sings_on_any_page(ids: dict[str, str], visit: Callable[..., Page]) -> None:
    page = visit("/projects")
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # fragments name none
    missing: list[str] = []
    page.on("response", lambda got: missing.append(got.url) if got.status >= 400 else None)
    opened = 0
    for name, rule in PAGES.items():
        method, path = name.split()
        if method != "GET" or rule.endless or path in FRAGMENTS:
            continue
        for key, value in ids.items():
            path = path.replace(f"{{{key}}}", value)
        assert "{" not in path, f"{name}: the test knows no such id"
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        page.wait_for_timeout(150)
        _unharmed(page)
        opened += 1
    assert opened > 15
    assert missing == []


def test_no_canary_sings_in_the_name_of_a_model_or_a_file(
    site: Site, visit: Callable[..., Page], tmp_path: Path
) -> None:
    """A model's is told in lists and settings; of a file the rows that were refused as well."""
    page = visit("/projects")
    for n, canary in enumerate(CANARIES[:5]):
        wanted = {"name": f"model {n}", "base_model": canary.replace("\x00", "")}
        project = site.rest.post("/projects", wanted)["id"]
        for path in ("", "/settings", "/policies", "/import"):
            page.goto(f"/projects/{project}{path}")
            page.wait_for_timeout(100)
            _unharmed(page)
        file = tmp_path / (canary.replace("/", "\u2215")[:60] + ".jsonl")
        file.write_text("no JSON " + canary)
        page.locator("input[type=file]").first.set_input_files(file)
        page.locator("form:has(input[type=file]) button.main").first.click()
        page.wait_for_timeout(150)
        _unharmed(page)


def test_no_canary_sings_while_labelling(ids: dict[str, str], visit: Callable[..., Page]) -> None:
    page = visit(f"/projects/{ids['project_id']}/label")
    expect(page.locator("#pair")).to_be_visible()
    for key in ("1", "2"):  # which canaries come is the round's random choice
        expect(page.locator("#prompt-text")).not_to_be_empty()
        expect(page.locator("#prompt-text")).not_to_contain_text("49")  # no template ran
        _unharmed(page)
        page.keyboard.press(key)
        page.wait_for_timeout(300)
    _unharmed(page)


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example", "javascript:alert(1)"])
def test_the_door_leads_to_no_other_site(site: Site, visit: Callable[..., Page], next: str) -> None:
    page = visit(f"/sign-in?next={next}", sign_in=False)
    value: Any = page.locator("form[action='/sign-in'] input[name=next]").input_value()
    assert value == "/projects"
