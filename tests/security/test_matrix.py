"""Every route, asked by everybody, in their own project and in another.

Made from the route table, so that a route nobody thought of fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.people.access import CSRF_HEADER
from tests.security.conftest import World, build
from tests.security.rules import API, PAGES, RULES, Rule

NOT_OURS = {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
KEYS = (
    "admin",
    "owner",
    "manager",
    "reviewer",
    "annotator",
    "oracle",
    "stranger",
    "owner, narrow key",
    "owner, key of another project",
    "anonymous",
)
NARROW = ("annotator", "oracle", "owner, narrow key")
OF_NO_PROJECT = ("open", "signed", "session", "whole")
SESSIONS = (
    "admin",
    "owner",
    "manager",
    "reviewer",
    "annotator",
    "oracle",
    "stranger",
    "anonymous",
)
MAY = {
    "own": ("owner",),
    "manage": ("owner", "manager"),
    "review": ("owner", "manager", "reviewer", "owner, narrow key"),
    "keymaker": ("owner", "manager", "reviewer"),
}
"""Whom of a project's members a call is for, where it is not for all of them."""
CHOICES = {
    "what": "prompts",
    "verb": {"people": "deactivate", "rounds": "cancel", "evaluations": "cancel"},
}


def routes_of(app: Any) -> set[str]:
    """``METHOD /path`` of every route, however deep the routers are."""
    found: set[str] = set()

    def walk(routes: Any) -> None:
        for route in routes:
            if isinstance(route, APIRoute):
                found.update(f"{method} {route.path}" for method in route.methods)
            elif hasattr(route, "methods") and route.path not in NOT_OURS:
                found.update(f"{method} {route.path}" for method in route.methods or ())
            elif hasattr(route, "effective_route_contexts"):
                walk_contexts(route)
            elif hasattr(route, "routes") and getattr(route, "name", "") != "static":
                walk(route.routes)

    def walk_contexts(route: Any) -> None:
        for context in route.effective_route_contexts():
            found.update(f"{method} {context.path}" for method in context.methods or ())

    walk(app.routes)
    return found - {f"{verb} {path}" for path in NOT_OURS for verb in ("GET", "HEAD")}


def test_every_route_has_a_rule(app: Any) -> None:
    found = {name for name in routes_of(app) if not name.startswith("HEAD ")}
    assert len(found) > 60
    assert sorted(found - set(RULES)) == [], "say in tests/security/rules.py who may call them"
    assert sorted(set(RULES) - found) == [], "these rules are of no route"


def expected(rule: Rule, who: str, *, own: bool, by_key: bool) -> set[int] | None:
    """Statuses of a refusal; None where the call is allowed."""
    if rule.who == "open":
        return None
    if who == "anonymous":
        return {401}
    if rule.who == "signed":
        return None
    if rule.who == "whole":
        narrow = by_key and (who in NARROW or who == "owner, key of another project")
        return {403} if narrow else None
    if rule.who == "session":
        return {403}
    if rule.who == "site":
        return None if who == "admin" else {403}
    if rule.who == "holder":
        return None if who == "annotator" and own else {404}
    if rule.who == "sender":
        if own and who == "owner":
            return None
        return {403} if own and who in ("annotator", "oracle", "reviewer") else {404}
    if rule.who == "mine":
        refused = {404} if not (own and who == "annotator") else {403}  # a narrow key ends itself
        return None if who == "admin" or (refused == {403} and not by_key) else refused
    if rule.who == "keymaker" and who in NARROW:
        return {403}
    return _in_project(rule.who, who, own=own)


def _in_project(need: str, who: str, *, own: bool) -> set[int] | None:
    if who == "admin":
        return None
    if who == "owner, key of another project":
        return {404, 403}
    if not own or who == "stranger":
        return {404}
    return None if who in MAY.get(need, (who,)) else {403}


def filled(text: str, ids: dict[str, str]) -> str:
    """A path with its parameters."""
    for name, value in ids.items():
        text = text.replace(f"{{{name}}}", value)
    room = text.strip("/").split("/")[0]
    verbs = CHOICES["verb"]
    assert isinstance(verbs, dict)
    return text.replace("{what}", "prompts").replace("{verb}", verbs.get(room, ""))


def _body(rule: Rule, ids: dict[str, str]) -> Any:
    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return filled(value, ids) if value.startswith("{") else value
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value

    return fill(rule.body)


def call_api(client: TestClient, world: World, name: str, who: str, ids: dict[str, str]) -> int:
    """Status of an API call by key."""
    method, path = name.split()
    rule = RULES[name]
    more: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": _body(rule, ids)}
    answer = client.request(method, filled(path, ids), headers=world.by_key(who), **more)
    assert "Traceback" not in answer.text
    return answer.status_code


def call_page(client: TestClient, world: World, name: str, who: str, ids: dict[str, str]) -> int:
    """Status of a page's call by cookie; being sent to sign in counts as 401."""
    method, path = name.split()
    headers = world.by_cookie(who) | {"Accept": "text/html"}
    form = _body(RULES[name], ids) | {"csrf_token": headers.pop("X-CSRF-Token", "")}
    more: dict[str, Any] = {} if method == "GET" else {"data": form}
    answer = client.request(method, filled(path, ids), headers=headers, **more)
    sent_away = answer.status_code == 303 and answer.headers["Location"].startswith("/sign-in?next")
    return 401 if sent_away else answer.status_code


Call = Callable[[TestClient, World, str, str, dict[str, str]], int]
Asked = tuple[str, str, bool]
WAYS: dict[str, tuple[dict[str, Rule], tuple[str, ...], Call]] = {
    "key": (API, KEYS, call_api),
    "cookie": (PAGES, SESSIONS, call_page),
}


def asked(way: str, names: Iterable[str]) -> Iterator[tuple[Asked, set[int] | None]]:
    """Who asks for what, and what they should get."""
    rules, cast, _ = WAYS[way]
    for name in names:
        some = ("admin", "anonymous") if rules[name].who == "open" else cast
        where = (
            (True,) if rules[name].who in ("open", "signed", "session", "whole") else (True, False)
        )
        for who, own in itertools.product(some, where):
            yield (name, who, own), expected(rules[name], who, own=own, by_key=way == "key")


def wrong(client: TestClient, world: World, way: str, ask: Asked, refusal: set[int] | None) -> Any:
    """What was answered, where it is not what it should be."""
    name, who, own = ask
    status = WAYS[way][2](client, world, name, who, world.own if own else world.other)
    if refusal is not None:
        fine = status in refusal
    else:
        opened = RULES[name].who == "open"
        fine = status < 500 and (opened or status not in (401, 403, 404))
    return None if fine else (*ask, status)


@pytest.mark.parametrize("way", WAYS)
def test_refusals_and_reads(client: TestClient, way: str) -> None:
    world, found = build(), []
    for ask, refusal in asked(way, WAYS[way][0]):
        reads = ask[0].startswith("GET") and not RULES[ask[0]].endless
        if refusal is not None or reads:
            found.append(wrong(client, world, way, ask, refusal))
    assert len(found) > 200
    assert [fault for fault in found if fault] == []


@pytest.mark.parametrize(
    ("way", "name"),
    [(way, name) for way in WAYS for name in WAYS[way][0] if not name.startswith("GET")],
)
def test_writes_by_who_may(client: TestClient, database: Engine, way: str, name: str) -> None:
    world, found = build(), []
    used: set[bool] = set()
    for ask, refusal in asked(way, [name]):
        if refusal is not None:
            continue
        if ask[2] in used and RULES[name].who not in ("open", "signed"):
            with database.begin() as connection:  # the one before took or ended what it was for
                connection.exec_driver_sql("TRUNCATE people, projects, groups CASCADE")
            world, used = build(), set()
        used.add(ask[2])
        found.append(wrong(client, world, way, ask, None))
    assert [fault for fault in found if fault] == []


def test_no_form_works_without_its_csrf_token(client: TestClient) -> None:
    world, taken = build(), []
    headers = {"Cookie": world.by_cookie("admin")["Cookie"], "Sec-Fetch-Site": "cross-site"}
    for name in PAGES:
        method, path = name.split()
        for token in ({}, {"csrf_token": "a guess"}, {"csrf_token": world.cookies["owner"][1]}):
            if method != "GET":
                data = _body(RULES[name], world.own) | token
                answer = client.post(filled(path, world.own), data=data, headers=headers)
                taken += [(name, token)] if answer.status_code != 403 else []
    assert taken == []


def test_no_call_by_cookie_works_without_its_csrf_header(client: TestClient) -> None:
    world, taken = build(), []
    cookie = {"Cookie": world.by_cookie("admin")["Cookie"]}
    for name in API:
        method, path = name.split()
        for token in ({}, {CSRF_HEADER: "a guess"}, {CSRF_HEADER: world.cookies["owner"][1]}):
            if method != "GET" and not path.endswith(("/sign-in", "/invitations/accept")):
                more = {} if method == "DELETE" else {"json": _body(RULES[name], world.own)}
                answer = client.request(
                    method, filled(path, world.own), headers=cookie | token, **more
                )
                taken += [(name, token)] if answer.status_code != 403 else []
    assert taken == []


def test_a_key_opens_no_page(client: TestClient) -> None:
    world = build()
    answer = client.get("/projects", headers=world.by_key("admin") | {"Accept": "text/html"})
    assert answer.headers["Location"].startswith("/sign-in")


def test_others_claims_in_a_batch_of_answers_are_refused_one_by_one(client: TestClient) -> None:
    world = build()
    body = {"items": [{"claim": world.own["claim_id"], "choice": "tie"}]}
    for who in ("admin", "owner", "stranger", "owner, key of another project"):
        answer = client.post("/api/v1/claims/preferences", json=body, headers=world.by_key(who))
        assert answer.json()["items"][0]["status"] == 404, who
