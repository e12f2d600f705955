"""What holds of every page: who sees it, that it is whole, and that it runs nothing inline."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from importlib import import_module

import pytest

from app.demo import status as demo
from app.settings import get_settings
from tests.pages.conftest import SECRET_NAME, Cast, soup

OF_EVERYBODY = ("/projects", "/keys")
OF_ADMINS = ("/projects/new", "/people", "/admin/system", "/admin/log")
OF_MEMBERS = (
    *("{p}", "{p}/rounds", "{p}/prompts", "{p}/policies", "{p}/label", "{p}/label/rest"),
    "{p}/practice",
)
OF_THE_PAST = ("/rounds/{round}", "/policies/{policy}")
OF_MANAGERS = (
    *("{p}/settings", "{p}/import", "{p}/people", "{p}/quality", "{p}/oracle", "{p}/log"),
    "{p}/gold",
    "{p}/practice/pairs",
    "{p}/evaluations",
    "{p}/playground",
    "{p}/delete",
)
STREAMS = ("/rounds/{round}/events", "{p}/label/progress")
FRAGMENTS = ("{p}/label/rest",)


@pytest.fixture
def address(cast: Cast, done_round: uuid.UUID, policy_id: uuid.UUID):
    """Fills in where the cast's project, round and policy are."""
    return lambda path: path.format(p=cast.p, round=done_round, policy=policy_id)


@pytest.mark.parametrize("path", [*OF_EVERYBODY, *OF_MEMBERS, *OF_THE_PAST, *OF_MANAGERS])
def test_it_is_whole_for_the_owner(cast: Cast, address, path: str) -> None:
    answer = cast.owner.get(address(path))
    assert answer.status_code == 200
    if path in FRAGMENTS:
        return
    page = soup(answer)
    assert len(page.find_all("h1")) == 1
    assert page.title.string.strip().endswith("ActiveDPO")
    assert page.find("main") is not None
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", OF_ADMINS)
def test_admin_pages_are_for_admins(cast: Cast, path: str) -> None:
    assert cast.admin.get(path).status_code == 200
    assert cast.owner.get(path).status_code == 403


@pytest.mark.parametrize("path", [*OF_MEMBERS, *OF_THE_PAST])
def test_an_annotator_sees_what_a_member_may(cast: Cast, address, path: str) -> None:
    assert cast.annotator.get(address(path)).status_code == 200


@pytest.mark.parametrize("path", OF_MANAGERS)
def test_an_annotator_does_not_manage(cast: Cast, address, path: str) -> None:
    answer = cast.annotator.get(address(path))
    assert answer.status_code == 403
    assert soup(answer).find("h1").string == "Not allowed"


@pytest.mark.parametrize(
    "path",
    [*OF_MEMBERS, *OF_THE_PAST, *OF_MANAGERS, *STREAMS],
)
def test_a_stranger_finds_nothing_and_learns_nothing(cast: Cast, address, path: str) -> None:
    answer = cast.stranger.get(address(path))
    assert answer.status_code == 404
    assert "Replies" not in answer.text
    missing = cast.stranger.get(address(path).replace(str(cast.project_id), str(uuid.uuid4())))
    assert missing.status_code == 404


def test_a_stranger_sees_no_project_in_the_list(cast: Cast) -> None:
    page = cast.stranger.get("/projects")
    assert "Replies" not in page.text
    assert "You are in no project yet" in page.text


@pytest.mark.parametrize("path", [*OF_EVERYBODY, *OF_ADMINS, *OF_MEMBERS, *OF_MANAGERS])
def test_who_is_not_signed_in_comes_back_after_the_door(cast: Cast, address, path: str) -> None:
    cast.owner.cookies.clear()
    answer = cast.owner.get(address(path))
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/sign-in?next={address(path)}"


@pytest.mark.parametrize(
    "path", ["/sign-in", *OF_EVERYBODY, *OF_ADMINS, *OF_MEMBERS, *OF_THE_PAST, *OF_MANAGERS]
)
def test_nothing_runs_inline_and_nothing_comes_from_elsewhere(
    cast: Cast, address, path: str
) -> None:
    page = soup(cast.admin.get(address(path), follow_redirects=True))
    for script in page.find_all("script"):
        assert script.get("src", "").startswith("/static/")
        assert not (script.string or "").strip()
    assert not page.find_all("style")
    for tag in page.find_all(True):
        assert not [name for name in tag.attrs if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            assert not str(tag.get(name, "")).startswith(("http:", "https:", "//"))


def test_names_and_texts_are_never_markup(cast: Cast, address) -> None:
    for path in ("/projects", "{p}", "{p}/prompts", "/rounds/{round}"):
        answer = cast.owner.get(address(path))
        assert "<b>of the harbour" not in answer.text
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
    assert soup(cast.owner.get(cast.p)).find("h1").string == SECRET_NAME


def _routes(router) -> Iterator[tuple[str, set[str]]]:
    """Path and methods, of routers within the router as well."""
    for route in router.routes:
        inner = getattr(route, "effective_route_contexts", None)
        for one in inner() if inner else [route]:
            yield one.path, set(one.methods or ())


def test_every_page_of_a_form_is_refused_without_its_token(cast: Cast, address) -> None:
    rooms = (
        "people",
        "projects",
        "labelling",
        "rounds",
        "policies",
        "quality",
        "imports",
        "evaluations",
        "playground",
    )
    forms = [
        path
        for room in rooms
        for path, methods in _routes(import_module(f"app.{room}.pages").router)
        if "POST" in methods
    ]
    assert len(forms) > 12
    names = {
        "project_id": cast.project_id,
        "round_id": address("{round}"),
        "policy_id": address("{policy}"),
        "person_id": cast.people["annotator"],
        "key_id": uuid.uuid4(),
        "pair_id": uuid.uuid4(),
        "claim_id": uuid.uuid4(),
        "practice_id": uuid.uuid4(),
        "invitation_id": uuid.uuid4(),
        "kept_id": uuid.uuid4(),
        "group_id": uuid.uuid4(),
        "evaluation_id": uuid.uuid4(),
        "outputs_id": uuid.uuid4(),
        "trial_id": uuid.uuid4(),
    }
    of_the_door = {
        "/sign-in",
        "/sign-in/code",
        "/language",
        "/invitation",
        "/password",
    }  # no session yet: the origin counts
    for path in set(forms) - of_the_door:
        cancels = "round" in path or "evaluation" in path
        verbs = {"verb": "cancel" if cancels else "deactivate", "what": "prompts"}
        filled = path.format(**{**names, **verbs})
        for token in ({}, {"csrf_token": "guessed"}):
            answer = cast.admin.post(filled, data=token)
            assert answer.status_code == 403, filled
            assert "out of date" in answer.text


def test_a_page_that_is_not_there_is_a_page(cast: Cast) -> None:
    answer = cast.owner.get("/nowhere")
    assert answer.status_code == 404
    assert soup(answer).find("h1").string == "Not found"
    script = cast.owner.get("/nowhere", headers={"Accept": "application/json"})
    assert script.headers["Content-Type"] == "application/problem+json"


def test_the_demo_says_how_far_it_is_until_it_is_there(
    cast: Cast, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = get_settings().home
    monkeypatch.setattr(get_settings(), "demo", True)
    assert soup(cast.admin.get("/projects")).select_one("[hx-get='/demo/progress']") is not None
    demo.write(home, demo.Status("fetching", "Fetching the model.", 30, 120))
    notice = soup(cast.admin.get("/demo/progress"))
    assert "Fetching the model." in notice.text
    assert (notice.progress["value"], notice.progress["max"]) == ("30", "120")
    demo.write(home, demo.Status("done", "It is there."))
    assert cast.admin.get("/demo/progress").status_code == 204
    assert "HX-Refresh" not in cast.admin.get("/demo/progress").headers
    assert "HX-Refresh" in cast.admin.get("/demo/progress?waited=yes").headers
