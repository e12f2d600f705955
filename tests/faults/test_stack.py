"""The real stack is struck at named points; after each, every promise holds.

The suite strikes the points where most is at stake; ``ALL_FAULTS=1`` strikes all.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.driver import Visitor, visitor_of
from tests.faults.conftest import PLANTED
from tests.faults.harness import Faults, back, check_promises, kill
from tests.stack.conftest import Stack, still_there

pytestmark = pytest.mark.timeout(300)
ALL = bool(os.environ.get("ALL_FAULTS"))

KINDS = ("generate", "train", "evaluate")
WORKER_POINTS = [
    f"{kind}.{when}"
    for kind in KINDS
    for when in ("taken", "loaded", "computed", "committing", "committed")
]
CHILD_POINTS = ["child.loading", "child.generating", "child.scoring", "child.training"]
POINTS = [*WORKER_POINTS, "train.kept", *CHILD_POINTS]
DEAREST = {"train.kept", "train.committing", "train.committed", "child.training"}
SERVERS = [
    (part, point)
    for part in ("redis", "postgres", "beat", "web")
    for point in ("generate.computed", "train.computed", "train.committing", "evaluate.computed")
]
DEAREST_SERVERS = {("postgres", "train.computed"), ("redis", "evaluate.computed")}


def some(of: list[Any], dearest: set[Any]) -> list[Any]:
    """All of them, or those that the suite has time for."""
    return of if ALL else [item for item in of if item in dearest]


@pytest.mark.parametrize("point", some(POINTS, DEAREST))
def test_a_process_killed_at(
    point: str, stack: Stack, visitor: Visitor, faults: Faults, tiny: str
) -> None:
    project, said = visitor.project(tiny), {}
    faults.kill_at(point)
    visitor.a_round(project, said)
    faults.all_struck()
    check_promises(stack, visitor, project, said)


@pytest.mark.parametrize(("part", "point"), some(SERVERS, DEAREST_SERVERS))
def test_another_part_killed_while_the_worker_is_at(
    part: str, point: str, stack: Stack, visitor: Visitor, faults: Faults, tiny: str
) -> None:
    project, said = visitor.project(tiny), {}
    faults.hold_at(point)
    round_id = visitor.open_round(project)
    labelled = not point.startswith("generate")
    if labelled:
        visitor.label_round(project, round_id, said)
    faults.held(point)
    pid = kill(stack, part)
    back(stack, part, pid)
    faults.let_go(point)
    if not labelled:
        visitor.label_round(project, round_id, said)
    visitor.wait_for(round_id, "done")
    check_promises(stack, visitor, project, said)


@pytest.mark.parametrize("point", ["request.committing", "request.committed"])
def test_the_web_server_killed_as_the_last_label_is_stored(
    point: str, stack: Stack, visitor: Visitor, faults: Faults, tiny: str
) -> None:
    project, said = visitor.project(tiny), {}
    round_id = visitor.open_round(project)
    visitor.wait_for(round_id, "labelling")
    *first, last = visitor.post(f"/projects/{project}/claims", {"count": 4})["items"]
    for claim in first:
        given = visitor.post(f"/claims/{claim['id']}/preference", {"choice": "left"})
        said[given["id"]] = "left"
    faults.kill_at(point)
    given = visitor.post(f"/claims/{last['id']}/preference", {"choice": "right"})  # tries again
    said[given["id"]] = "right"
    faults.all_struck()
    visitor.wait_for(round_id, "done")
    check_promises(stack, visitor, project, said)


def test_redis_emptied_while_a_round_is_open(stack: Stack, visitor: Visitor, tiny: str) -> None:
    import redis

    project, said = visitor.project(tiny), {}
    round_id = visitor.open_round(project)
    with redis.Redis.from_url(stack.state["redis_url"]) as client:
        client.flushall()
    visitor.label_round(project, round_id, said)
    with redis.Redis.from_url(stack.state["redis_url"]) as client:
        client.flushall()
    visitor.wait_for(round_id, "done")
    check_promises(stack, visitor, project, said)


def test_everything_killed_in_the_middle_of_a_training(
    stacks: Any, faults: Faults, tiny: str
) -> None:
    stack = stacks[-1]
    visitor = visitor_of(stack)
    project, said = visitor.project(tiny), {}
    faults.hold_at("child.training")
    round_id = visitor.open_round(project)
    visitor.label_round(project, round_id, said)
    faults.held("child.training")
    family = stack.family()
    stack.end(signal.SIGKILL)
    assert still_there(family) == []
    faults.let_go("child.training")

    again = stacks.again()
    visitor = visitor_of(again)
    visitor.wait_for(round_id, "done")
    check_promises(again, visitor, project, said)


def test_no_log_holds_a_secret_or_a_text(stacks: Any, visitor: Visitor, tiny: str) -> None:
    text = "a very private text of somebody"
    project = visitor.project(tiny, prompts=0)
    oracle = {
        "kind": "openai",
        "base_url": "https://oracle.invalid/v1",
        "model": "m",
        "api_key": f"oracle-{PLANTED}",
    }
    assert PLANTED not in str(visitor.ask("PUT", f"/projects/{project}/oracle", json=oracle).text)
    visitor.ask("DELETE", f"/projects/{project}/oracle")
    visitor.post(f"/projects/{project}/prompts", {"prompts": [{"prompt": text}] * 4})
    visitor.ask(
        "POST", f"/projects/{project}/prompts", json={"prompts": [{"prompt": 1, "x": text}]}
    )
    for password in (f"wrong-{PLANTED}", f"password-{PLANTED}"):
        body = {"email": "admin@localhost", "password": password}
        visitor.ask("POST", "/sign-in", json=body)
    visitor.ask("GET", f"/projects/{project}?api_key=query-{PLANTED}")
    logs = "".join(p.read_text(errors="replace") for p in (stacks[-1].home / "logs").iterdir())
    for secret in (PLANTED, text):
        found = [line for line in logs.splitlines() if secret in line]
        assert found == []
    database = stacks[-1].state["database_url"]
    password = database.split(":")[2].split("@")[0]
    assert password not in logs
