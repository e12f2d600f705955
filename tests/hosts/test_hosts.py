"""Two workers on hosts of their own, one of them cut off in the middle: a round is done once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from app.backup.database import libpq
from tests.driver import Visitor, wait_until
from tests.hosts.conftest import Lab

pytestmark = pytest.mark.timeout(280)


def ask(lab: Lab, query: str, *values: Any) -> list[Any]:
    """Rows of the database, over its socket."""
    with psycopg.connect(libpq(lab.here), connect_timeout=20) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[call-overload]


def owner_of(lab: Lab, host: str) -> str:
    """What the leases of the host's worker are held under."""
    like = f"%:{lab.workers[host].pid}:%"
    ((owner,),) = ask(lab, "SELECT owner FROM workers WHERE owner LIKE %s", like)
    return str(owner)


def takers(lab: Lab, round_id: str) -> set[str]:
    """Who has a shard of the round's generation, or has done one."""
    rows = ask(lab, "SELECT lease_owner FROM runs WHERE round_id = %s", round_id)
    return {owner for (owner,) in rows if owner}


def check_once(lab: Lab, visitor: Visitor, project: str, said: dict[str, str]) -> None:
    """What must hold of a project with one round, done."""
    stored = visitor.everything(f"/projects/{project}/preferences")
    assert {one["id"]: one["choice"] for one in stored} == said
    ((policies, published),) = ask(
        lab,
        "SELECT (SELECT count(*) FROM policies WHERE project_id = %s AND kind <> 'base'), "
        "(SELECT count(*) FROM events WHERE project_id = %s AND kind = 'policy.published')",
        project, project,
    )  # fmt: skip
    assert (policies, published) == (1, 1)
    ((pairs, prompts),) = ask(
        lab, "SELECT count(*), count(DISTINCT prompt_id) FROM pairs WHERE project_id = %s", project
    )
    assert (pairs, prompts) == (24, 24), "each prompt once"
    unfinished = ask(
        lab, "SELECT kind, state FROM runs WHERE project_id = %s AND state <> 'done'", project
    )
    assert unfinished == []


def test_a_round_is_done_once_though_one_host_is_cut_off_in_the_middle(
    lab: Lab, visitor: Visitor, tiny: str
) -> None:
    wait_until(lambda: len(ask(lab, "SELECT 1 FROM workers")) == 2, "two workers", 120)
    left, right = owner_of(lab, "left"), owner_of(lab, "right")
    project = visitor.project(tiny, prompts=24, pool_size=24)
    said: dict[str, str] = {}

    for host in ("left", "right"):  # both are at work at once, on shards of the same round
        lab.faults[host].hold_at("generate.computed")
    round_id = visitor.open_round(project)
    for host in ("left", "right"):
        lab.faults[host].held("generate.computed", 120)
    held = ask(lab, "SELECT lease_owner FROM runs WHERE state = 'running' AND kind = 'generate'")
    assert {owner for (owner,) in held} == {left, right}
    ((lost,),) = ask(lab, "SELECT id FROM runs WHERE lease_owner = %s", left)

    lab.network.cut("left")
    lab.faults["left"].let_go("generate.computed")  # has its outcome, and nobody to tell
    lab.faults["right"].let_go("generate.computed")
    visitor.label_round(project, round_id, said)
    visitor.wait_for(round_id, "done")
    check_once(lab, visitor, project, said)
    ((attempt, state),) = ask(lab, "SELECT attempt, state FROM runs WHERE id = %s", lost)
    assert (attempt, state) == (2, "done"), "the other host did the lost shard, once"

    lab.network.mend("left")
    wait_until(lambda: "hold_lost" in lab.log("left-worker"), "the cut host to see it", 120)
    check_once(lab, visitor, project, said)

    lab.faults["right"].hold_at("generate.taken")  # so that the other one has to work as well
    again = visitor.open_round(project)
    wait_until(lambda: left in takers(lab, again), "the cut host to work again", 120)
    for mark in ("hold", "held"):
        (lab.faults["right"].folder / f"generate.taken.{mark}").unlink(missing_ok=True)
    visitor.wait_for(again, "labelling")
