"""Oracles by rule, driven by the worker's own loop in this process: whole batches in each mode."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from app.database import transaction
from app.labelling import actions as labelling
from app.models import Claim, Oracle, Person, Project
from app.oracles import actions, queries
from app.rounds.training_set import training_set
from tests.oracles.helpers import labels_by, run_oracle
from worker.oracle import Office

Make = Callable[..., Any]
GOOD, BAD = "What a wonderful, lovely, happy day!", "This is terrible, awful and sad."
SAME = ("It is a day.", "It is a night.")


def attach(it: Any, **body: Any) -> dict[str, Any]:
    answer = it.client.put(f"{it.at}/oracle", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_alone_it_labels_the_whole_batch(lab: Make) -> None:
    it = lab(8)
    it.open()
    told = attach(it, kind="sentiment")
    assert told["mode"] == "alone"
    assert told["state"] == "active"
    run_oracle(it.project_id)
    assert it.round().state == "training"
    labels = it.labels()
    assert len(labels) == 8
    pairs = {pair.id: pair for pair in it.pairs()}
    for label in labels:
        better = "a" if pairs[label.pair_id].completion_a == GOOD else "b"
        assert label.chosen == better
        assert label.p_left in (0.0, 1.0)
        assert label.judge["name"] == "sentiment"
    assert {one["annotator"] for one in labels_by(it)} == {told["annotator"]}


def test_alone_what_it_abstains_from_is_replaced(lab: Make) -> None:
    it = lab([SAME] * 3 + [(GOOD, BAD)] * 5, batch_size=4)
    it.open()
    attach(it, kind="sentiment")
    run_oracle(it.project_id)
    round = it.round()
    assert round.state == "training"
    said = [label.choice for label in it.labels()]
    assert len([choice for choice in said if choice != "skip"]) == round.needed == 4


def test_alone_a_batch_of_pairs_that_nobody_can_judge_ends_the_round(lab: Make) -> None:
    it = lab([SAME] * 3)
    it.open()
    attach(it, kind="sentiment")
    run_oracle(it.project_id)
    round = it.round()
    assert round.state == "done"
    assert round.policy_out_id == round.policy_in_id
    assert "No label" in round.metrics["note"]


def test_alone_one_answer_is_enough_whatever_the_overlap(lab: Make) -> None:
    it = lab(4, overlap=3)
    it.open()
    attach(it, kind="length")
    run_oracle(it.project_id)
    assert it.round().state == "training"
    assert len(it.labels()) == 4


def test_first_people_get_only_what_it_abstains_from(lab: Make) -> None:
    it = lab([SAME] * 2 + [(GOOD, BAD)] * 4)
    it.open()
    attach(it, kind="sentiment", mode="first")
    assert it.claim(6) == []  # it will answer these, or say that it cannot
    run_oracle(it.project_id)
    left = it.claim(6)
    assert sorted(sorted((one["left"], one["right"])) for one in left) == [sorted(SAME)] * 2
    assert it.round().answered == 4
    it.answer([{"claim": one["id"], "choice": "left"} for one in left])
    assert it.round().state == "training"


def test_first_people_take_over_when_it_stops(lab: Make) -> None:
    it = lab(4)
    it.open()
    attach(it, kind="sentiment", mode="first")
    assert it.claim(4) == []
    with transaction() as s:
        actions.stop(s, queries.locked(s, it.project_id), "the budget is used up")
    assert len(it.claim(4)) == 4
    assert it.client.get(f"{it.at}/oracle").json()["error"] == "the budget is used up"


def test_with_people_it_has_slots_of_its_own(lab: Make) -> None:
    it = lab(4)
    it.open()
    attach(it, kind="sentiment", mode="with_people")
    run_oracle(it.project_id)
    assert it.round().state == "labelling"
    assert it.round().answered == 0
    mine = it.claim(10)
    assert len(mine) == 4
    it.answer([{"claim": one["id"], "choice": "left"} for one in mine])
    assert it.round().state == "training"
    assert len(it.labels()) == 8
    assert not any(label.late for label in it.labels())
    with transaction() as s:  # what people said outranks
        trained = training_set(s, it.round())
        assert len(trained) == 4
        said = {x.pair_id: x.chosen for x in it.labels() if x.person_id == it.owner_id}
        assert {t.pair.id: "a" if t.p == 1 else "b" for t in trained} == said


def test_with_people_its_abstentions_replace_nothing(lab: Make) -> None:
    it = lab([SAME] * 2, batch_size=2)
    it.open()
    attach(it, kind="sentiment", mode="with_people")
    run_oracle(it.project_id)
    assert it.round().needed == 2
    assert len(it.claim(2)) == 2


def test_attached_before_the_round_opens(lab: Make) -> None:
    it = lab(2)
    attach(it, kind="length", prefer="shorter")
    run_oracle(it.project_id)
    it.open()
    run_oracle(it.project_id)
    assert it.round().state == "training"


def test_regex_and_what_it_prefers(lab: Make) -> None:
    it = lab([("one", "two 2 3"), ("4 5", "6")])
    it.open()
    attach(it, kind="regex", pattern=r"\d", prefer="fewer")
    run_oracle(it.project_id)
    assert [label.chosen for label in sorted(it.labels(), key=lambda x: str(x.pair_id))] == [
        {"one": "a", "4 5": "b"}[pair.completion_a]
        for pair in sorted(it.pairs(), key=lambda x: str(x.id))
    ]


def test_detached_it_stops_and_gives_back(lab: Make) -> None:
    it = lab(4)
    it.open()
    told = attach(it, kind="sentiment")
    with transaction() as s:
        oracle = queries.take(s, it.project_id, "a worker", 60)
        project = s.get_one(Project, it.project_id)
        held = labelling.claim_pairs(s, project, oracle.person_id, 4)
    assert len(held) == 4
    assert it.client.delete(f"{it.at}/oracle").status_code == 204
    assert it.client.get(f"{it.at}/oracle").status_code == 404
    assert it.client.delete(f"{it.at}/oracle").status_code == 404
    assert len(it.claim(4)) == 4
    with transaction() as s:
        assert not queries.renew(s, oracle.id, oracle.attempt, 60)
        assert queries.held(s, oracle.id, oracle.attempt) is None
        assert not s.get_one(Person, oracle.person_id).active
    members = it.client.get(f"{it.at}/members").json()["items"]
    assert told["annotator"] not in {one["email"] for one in members}
    run_oracle(it.project_id)
    assert it.labels() == []


def test_a_crash_in_the_middle_loses_and_doubles_nothing(lab: Make) -> None:
    it = lab(6)
    it.open()
    attach(it, kind="sentiment")
    with transaction() as s:  # a worker that claims three pairs and is killed
        oracle = queries.take(s, it.project_id, "gone:1:x", 60)
        labelling.claim_pairs(s, s.get_one(Project, it.project_id), oracle.person_id, 3)
    run_oracle(it.project_id)  # its lease stands: nobody else may work
    assert it.labels() == []
    with transaction() as s:
        assert len(queries.free_leases(s, "gone:1:")) == 1
    run_oracle(it.project_id)
    assert len(it.labels()) == 6
    assert it.round().state == "training"
    claims = list(it.claims("live", "answered", "released"))
    assert len(claims) == len({claim.pair_id for claim in claims}) == 6


def test_many_workers_label_each_pair_once(lab: Make) -> None:
    it = lab(40)
    it.open()
    attach(it, kind="sentiment")
    threads = [threading.Thread(target=run_oracle, args=(it.project_id,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(it.labels()) == 40
    assert it.round().state == "training"


def test_the_office_serves_many_projects_and_stops(lab: Make) -> None:
    all_of_them = [lab(3) for _ in range(3)]
    office = Office("test")
    for it in all_of_them:
        it.open()
        attach(it, kind="sentiment")
        office.wake(it.project_id)
    done = threading.Event()
    for _ in range(200):
        if all(it.round().state == "training" for it in all_of_them):
            done.set()
            break
        done.wait(0.05)
    office.stop()
    assert done.is_set()
    with transaction() as s:
        assert all(queries.attached(s, it.project_id).lease_owner is None for it in all_of_them)


def test_putting_the_same_again_changes_nothing(lab: Make) -> None:
    it = lab(2)
    first = attach(it, kind="sentiment")
    again = attach(it, kind="sentiment")
    other = attach(it, kind="sentiment", mode="first")
    assert again["id"] == first["id"] != other["id"]
    assert other["annotator"] != first["annotator"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "magic"}, "magic"),
        ({}, "kind"),
        ({"kind": "sentiment", "mode": "never"}, "mode"),
        ({"kind": "sentiment", "lest": 1}, "lest"),
        ({"kind": "regex", "pattern": "("}, "pattern"),
        ({"kind": "callable", "callable": "os:system"}, "callable"),
        ({"kind": "openai", "model": "m"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "ftp://x"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "http://u:p@x.org"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "http://[::ffff:10.0.0.1]/v1"}, "base_url"),
    ],
)
def test_what_cannot_be_an_oracle_is_refused_by_name(
    lab: Make, body: dict[str, Any], field: str
) -> None:
    it = lab(1)
    answer = it.client.put(f"{it.at}/oracle", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_only_managers_attach(lab: Make) -> None:
    it, other = lab(1), lab(1)
    annotator = it.more("somebody")
    assert annotator.put(f"{it.at}/oracle", json={"kind": "sentiment"}).status_code == 403
    assert annotator.delete(f"{it.at}/oracle").status_code == 403
    assert other.client.put(f"{it.at}/oracle", json={"kind": "sentiment"}).status_code == 404
    assert other.client.get(f"{it.at}/oracle").status_code == 404
    assert it.client.put(f"/api/v1/projects/{uuid.uuid4()}/oracle", json={}).status_code in (
        404,
        422,
    )


def test_a_judge_that_fails_rests_and_people_take_over(
    lab: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import worker.oracle

    def broken(*_: Any) -> float:
        raise RuntimeError("secret text of somebody else")

    monkeypatch.setitem(worker.oracle.ORACLES, "length", lambda **_: broken)
    it = lab(4)
    it.open()
    attach(it, kind="length", mode="first")
    run_oracle(it.project_id)
    told = it.client.get(f"{it.at}/oracle").json()
    assert told["state"] == "waiting"
    assert told["error"] == "it raised RuntimeError"
    assert told["next_try_at"] is not None
    assert len(it.claim(4)) == 4
    with transaction() as s:
        assert queries.with_work(s) == []


def test_an_asynchronous_function_and_answers_that_are_no_probability(lab: Make) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from worker.oracle import PlainJudge

    async def quick(*_: Any) -> float:
        return 0.75

    async def ask() -> list[float | None]:
        with ThreadPoolExecutor(1) as pool:
            judges = [PlainJudge("x", f, pool) for f in (quick, lambda *_: 3.0, lambda *_: None)]
            return [(await judge("p", "a", "b")).p for judge in judges]

    assert asyncio.run(ask()) == [0.75, None, None]


def test_unsure_is_an_abstention_where_the_project_says_so(lab: Make) -> None:
    from activedpo.oracles.verdict import Verdict
    from worker.shift import answer_of

    chosen = {p: answer_of(Verdict(p), {"abstain_below": 0.7}).choice for p in (0.6, 0.2, 0.5)}
    assert chosen == {0.6: "skip", 0.2: "right", 0.5: "tie"}
    assert answer_of(Verdict(None), {}).choice == "skip"


def test_rows_say_what_an_oracle_is(lab: Make) -> None:
    it = lab(1)
    told = attach(it, kind="sentiment")
    with transaction() as s:
        row = s.get_one(Oracle, uuid.UUID(told["id"]))
        assert (row.kind, row.mode, row.settings["least"]) == ("sentiment", "alone", 0.05)
        assert s.query(Claim).count() == 0


def test_a_heartbeat_after_the_work_takes_nothing_back(lab: Make) -> None:
    """Else nobody may work for the oracle until the lease of a worker that has left is over."""
    it = lab(2)
    attach(it, kind="sentiment")
    with transaction() as s:
        oracle = queries.take(s, it.project_id, "a worker", 60)
        assert queries.renew(s, oracle.id, oracle.attempt, 60)
        actions.let_go(s, oracle)
    with transaction() as s:
        assert not queries.renew(s, oracle.id, oracle.attempt, 60)
    it.open()
    run_oracle(it.project_id)
    assert it.round().state == "training"


def test_a_bell_during_the_last_look_is_heard(lab: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    it = lab(2)
    attach(it, kind="sentiment")
    office, looked = Office("test"), threading.Event()
    last_look = queries.has_work

    def look(session: Any, oracle_id: uuid.UUID) -> bool:
        found = last_look(session, oracle_id)
        if not looked.is_set():
            it.open()  # behind its back
            office.wake(it.project_id)
            looked.set()
        return found

    monkeypatch.setattr(queries, "has_work", look)
    office.wake(it.project_id)
    for _ in range(200):
        if looked.is_set() and it.round().state == "training":
            break
        threading.Event().wait(0.05)
    office.stop()
    assert it.round().state == "training"
