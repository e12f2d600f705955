"""The system page and its API: what is seen of workers, holds, queues and troubles."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
import redis
from sqlalchemy import text, update

from app.database import transaction
from app.models import Delivery, Oracle, Round, Run, Webhook, Worker
from app.people import actions as people
from app.people.models import Person
from app.settings import get_settings
from app.system import actions, parts
from app.system.actions import Identity
from tests.pages.conftest import Cast, soup

HERE = Identity("host-a:17:abc", "host-a", 17, ("default", "generate", "train"), "0.1.0", "0001")
TALLIES = {
    "runs": {"train|done": 2},
    "stage_seconds": {"train|training": 12.5},
    "tokens": {"train|training": 5000},
    "lease_losses": {"generate": 1},
    "peak_memory_bytes": {"train|host": 1.5e9},
}


def seen(who: Identity = HERE, *, ago: float = 0, **more: Any) -> None:
    """A worker that spoke ``ago`` seconds before."""
    with transaction() as session:
        actions.seen(session, who, {"name": "cuda:0", "model": "H200"}, TALLIES, **more)
        session.execute(
            update(Worker)
            .where(Worker.owner == who.owner)
            .values(seen_at=Worker.seen_at - dt.timedelta(seconds=ago))
        )


def take(round_id: uuid.UUID, project_id: uuid.UUID, owner: str, *, overdue: bool = False) -> None:
    """A training of the round that ``owner`` has held for two minutes."""
    now = dt.datetime.now(dt.UTC)
    with transaction() as session:
        session.add(
            Run(
                project_id=project_id,
                round_id=round_id,
                kind="train",
                state="running",
                attempt=2,
                lease_owner=owner,
                lease_expires_at=now + dt.timedelta(seconds=-60 if overdue else 60),
                started_at=now - dt.timedelta(seconds=120),
                done=3,
                total=9,
            )
        )
        session.get_one(Round, round_id).stage = "training"


def told(cast: Cast) -> dict[str, Any]:
    """The system as the API says it."""
    answer = cast.admin.get("/api/v1/system")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_worker_is_shown_with_its_device_and_what_it_does(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    seen()
    take(labelling_round, cast.project_id, HERE.owner)
    (worker,) = told(cast)["workers"]
    assert (worker["host"], worker["pid"], worker["state"]) == ("host-a", 17, "there")
    assert worker["queues"] == ["default", "generate", "train"]
    (work,) = worker["work"]
    assert work["what"] == "train, round 1"
    assert (work["stage"], work["done"], work["total"], work["attempt"]) == ("training", 3, 9, 2)
    assert work["seconds"] >= 120
    page = soup(cast.admin.get("/admin/system"))
    shown = page.find(id="workers").find_parent("section").get_text(" ", strip=True)
    for said in (
        "host-a",
        "there",
        "cuda:0",
        "H200",
        "Training 3 of 9",
        "for 2 min",
        "revision 0001",
    ):
        assert said in shown
    assert page.find("a", href=f"/rounds/{labelling_round}") is not None


def test_who_says_nothing_is_silent_and_who_said_goodbye_has_stopped(cast: Cast) -> None:
    lease = get_settings().lease_seconds
    seen(ago=lease + 1)
    seen(Identity("host-b:1:x", "host-b", 1, ("train", "generate"), "0.1.0", "0001"), stopping=True)
    seen(Identity("host-c:1:x", "host-c", 1, ("train", "generate"), "0.1.0", "0001"))
    body = told(cast)
    states = {worker["host"]: worker["state"] for worker in body["workers"]}
    assert states == {"host-a": "silent", "host-b": "stopped", "host-c": "there"}
    assert body["workers"][0]["host"] == "host-c"
    assert {queue["name"]: queue["workers"] for queue in body["queues"]} == {
        "train": 1,
        "generate": 1,
        "default": 0,
    }


def test_a_worker_that_comes_back_is_there_again(cast: Cast) -> None:
    seen(stopping=True)
    seen()
    (worker,) = told(cast)["workers"]
    assert worker["state"] == "there"


def test_silent_workers_are_forgotten_after_a_while(cast: Cast) -> None:
    seen(ago=86_400 * (actions.KEPT_DAYS + 1))
    seen(Identity("host-b:1:x", "host-b", 1, ("train", "generate"), "0.1.0", "0001"), ago=86_400)
    with transaction() as session:
        actions.forget_silent(session)
    assert [worker["host"] for worker in told(cast)["workers"]] == ["host-b"]


def test_queues_say_what_waits_in_the_broker_and_in_the_database(
    cast: Cast, labelling_round: uuid.UUID, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()  # the round has rung already
        client.rpush("train", "one", "two")
    with transaction() as session:
        session.execute(text("DELETE FROM runs"))
        session.add(Run(project_id=cast.project_id, round_id=labelling_round, kind="train"))
    body = told(cast)
    train, generate, default = body["queues"]
    assert (train["messages"], train["waiting"], default["messages"]) == (2, 1, 0)
    assert (generate["messages"], generate["waiting"]) == (0, 0)
    ((kind, count),) = [(row["kind"], row["count"]) for row in body["waiting"]]
    assert (kind, count) == ("train", 1)


def test_a_hold_whose_lease_is_over_is_overdue(cast: Cast, labelling_round: uuid.UUID) -> None:
    take(labelling_round, cast.project_id, "gone:1:x", overdue=True)
    (hold,) = told(cast)["leases"]
    assert (hold["owner"], hold["overdue"]) == ("gone:1:x", True)
    assert "overdue" in cast.admin.get("/admin/system").text


def test_what_went_wrong_is_listed_newest_first_with_links(
    cast: Cast, labelling_round: uuid.UUID
) -> None:
    with transaction() as session:
        round = session.get_one(Round, labelling_round)
        round.state, round.failed_stage, round.error = "failed", "training", "the disk is <b>full"
        hook = Webhook(project_id=cast.project_id, url="https://example.com", secret="sealed")
        machine = Person(email="oracle@example.com", role="member")
        session.add_all([hook, machine])
        session.flush()
        dead = Delivery(
            webhook_id=hook.id, kind="round.done", payload={}, state="dead", error="it answered 500"
        )
        fine = Delivery(webhook_id=hook.id, kind="round.done", payload={}, state="delivered")
        stopped = Oracle(
            project_id=cast.project_id,
            person_id=machine.id,
            kind="openai",
            state="stopped",
            error="no key",
        )
        session.add_all([dead, fine, stopped])
        session.flush()
        session.execute(text("UPDATE deliveries SET created_at = now() - interval '1 day'"))
        hook_id = hook.id
    errors = told(cast)["errors"]
    assert [error["message"] for error in errors] == [
        "the disk is <b>full",
        "it answered 500",
        "no key",
    ]
    assert [error["href"] for error in errors] == [
        f"/rounds/{labelling_round}",
        f"/api/v1/webhooks/{hook_id}/deliveries",
        f"/projects/{cast.project_id}/oracle",
    ]
    for error in errors:
        assert cast.admin.get(error["href"]).status_code == 200
    page = cast.admin.get("/admin/system").text
    assert "the disk is &lt;b&gt;full" in page
    assert "<b>full" not in page


def test_versions_and_sizes_are_those_of_the_real_parts(cast: Cast, done_round: uuid.UUID) -> None:
    body = told(cast)
    assert body["database"]["revision"] == body["revision"]
    assert body["database"]["size_bytes"] > 1_000_000
    assert 0 < body["database"]["connections"] <= body["database"]["connections_allowed"]
    assert body["broker"]["version"][0].isdecimal()
    assert body["broker"]["memory_bytes"] > 0
    assert (body["store"]["policies"], body["store"]["size_bytes"]) == (1, 12)
    assert body["store"]["free_bytes"] > 0


def test_a_broker_that_is_gone_is_said_and_the_page_stands(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "redis_url", "redis://127.0.0.1:1/0")
    body = told(cast)
    assert body["broker"] is None
    assert [queue["messages"] for queue in body["queues"]] == [None, None, None]
    page = cast.admin.get("/admin/system")
    assert page.status_code == 200
    assert "Something does not answer" in page.text


def test_a_password_in_the_store_s_address_is_not_told(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "artifacts", "s3://key:secret@bucket/policies")
    assert told(cast)["store"]["url"] == "s3://bucket/policies"
    assert "secret@" not in cast.admin.get("/admin/system").text
    assert parts.store_free_bytes() is None


def test_it_is_for_admins_and_the_old_address_leads_there(cast: Cast) -> None:
    assert cast.admin.get("/system").headers["Location"] == "/admin/system"
    for path in ("/admin/system", "/system", "/api/v1/system"):
        assert cast.owner.get(path).status_code == 403
    with transaction() as session:
        admin = session.get_one(Person, cast.people["admin"])
        _, narrow = people.add_key(session, admin, "annotator", "narrow")
    cast.admin.cookies.clear()
    answer = cast.admin.get("/api/v1/system", headers={"Authorization": f"Bearer {narrow}"})
    assert answer.status_code == 403


def test_metrics_tell_what_each_worker_has_counted(cast: Cast) -> None:
    seen()
    seen(Identity("host-a:17:old", "host-a", 17, ("train", "generate"), "0.1.0", "0001"), ago=60)
    seen(Identity("host-z:1:x", "host-z", 1, ("train", "generate"), "0.1.0", "0001"), ago=3600)
    lines = cast.admin.get("/metrics").text.splitlines()
    assert 'activedpo_workers{queue="train"} 1.0' in lines
    name = 'worker="host-a:17"'
    assert f'activedpo_worker_runs_total{{kind="train",outcome="done",{name}}} 2.0' in lines
    assert (
        f'activedpo_worker_stage_seconds_total{{kind="train",stage="training",{name}}} 12.5'
        in lines
    )
    assert f'activedpo_worker_lease_losses_total{{kind="generate",{name}}} 1.0' in lines
    assert (
        f'activedpo_worker_peak_memory_bytes{{kind="train",where="host",{name}}} 1.5e+09' in lines
    )
    assert len([line for line in lines if line.startswith("activedpo_worker_runs_total")]) == 1
    assert not [line for line in lines if "host-z" in line]
