"""Answers in batches: each has its own status, and none spoils the others."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import text

from app.database import get_engine, transaction
from app.labelling import queries
from app.models import Claim, Preference, PreferenceVersion

Make = Callable[..., Any]


def test_a_batch_completes_a_round(lab: Make) -> None:
    it = lab(6)
    it.open()
    said = it.answer([{"claim": c["id"], "choice": "left"} for c in it.claim(6)])
    assert [one["status"] for one in said] == [201] * 6
    assert len({one["id"] for one in said}) == 6
    assert it.round().state == "training"
    assert len(it.labels()) == 6


def test_a_batch_leaves_the_same_record_as_one_by_one(lab: Make) -> None:
    said = [
        {"choice": "left", "strength": 3, "p_left": 0.1 + 0.7, "rationale": "clear — “so”"},
        {
            "choice": "right",
            "p_left": 1e-300,
            "judge": {"name": "j", "deep": [1, None, {"x": 0.1}]},
        },
        {"choice": "tie", "seconds": 1.5, "flags": ["unsafe", "broken", "unsafe"]},
        {"choice": "both_bad", "flags": ["personal_data"]},
        {"choice": "left"},
    ]
    records = []
    for together in (True, False):
        it = lab(len(said))
        it.open()
        claims = [one["id"] for one in it.claim(len(said))]
        if together:
            items = [{"claim": c, **one} for c, one in zip(claims, said, strict=True)]
            told = it.answer(items)
            assert [one.pop("status") for one in told] == [201] * len(said)
        else:
            told = [
                it.client.post(f"/api/v1/claims/{c}/preference", json=one).json()
                for c, one in zip(claims, said, strict=True)
            ]
        pages = it.client.get(f"{it.at}/preferences").json()["items"]
        assert {one["id"]: one["created_at"] for one in told} == {
            one["id"]: one["created_at"] for one in pages
        }
        with transaction() as s:
            rows = [
                (s.get_one(Preference, one["id"]), s.get_one(PreferenceVersion, (one["id"], 1)))
                for one in told
            ]
        for claim in it.claims("answered"):
            assert str(claim.id) in claims
        assert {pair.state for pair in it.pairs()} == {"answered"}
        assert it.round().state == "training"
        records.append([(_plain(one), _plain(version)) for one, version in rows])
    assert records[0] == records[1]
    assert records[0][0][0]["p_left"] == 0.1 + 0.7


OWN = {"id", "preference_id", "project_id", "round_id", "pair_id", "claim_id", "person_id"}
OWN |= {"created_at", "updated_at", "frozen_in", "left_is", "chosen"}


def _plain(row: Any) -> dict[str, Any]:
    """What was said, without what is each record's own: ids, times and sides drawn at random."""
    values = {c.name: getattr(row, c.name) for c in row.__table__.columns if c.name not in OWN}
    if "seconds" in values and values["seconds"] != 1.5:
        values["seconds"] = values["seconds"] > 0  # since the claim
    return values


def test_claiming_looks_at_a_pair_by_the_pair(lab: Make) -> None:
    """Whatever the statistics say: read by the person, every pair costs all of their claims."""
    it = lab(3)
    round_id = it.open()
    unknown = {"project": it.project_id, "round": round_id, "person": it.owner_id, "count": 2}
    values = {**unknown, "seconds": 60, "reviewer": False, "behind": None}
    with transaction() as s:
        # A table of three rows is read whole or by a bitmap, whatever indexes it has: not here.
        s.execute(text("SET LOCAL enable_seqscan = off"))
        s.execute(text("SET LOCAL enable_bitmapscan = off"))
        (plan,) = s.execute(text(f"EXPLAIN (FORMAT JSON) {queries._TAKE.text}"), values).one()
    looks = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") == "claims"]
    looks = [node for node in looks if node["Node Type"] != "ModifyTable"]
    assert looks
    assert all("pair_id" in str(node.get("Index Cond")) for node in looks), looks


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for one in node.get("Plans", []):
        yield from _nodes(one)


def test_every_item_has_a_status_of_its_own(lab: Make) -> None:
    it = lab(7)
    it.open()
    claims = [c["id"] for c in it.claim(7)]
    other = it.more("other")
    with transaction() as s:  # the last claim ran out and went to somebody else
        s.get_one(Claim, uuid.UUID(claims[6])).state = "expired"
    assert len(it.claim(1, other)) == 1
    it.answer([{"claim": claims[0], "choice": "left"}])
    stranger = str(uuid.uuid4())
    items = [
        {"claim": claims[0], "choice": "left"},
        {"claim": claims[0], "choice": "right"},
        {"claim": stranger, "choice": "left"},
        {"claim": claims[6], "choice": "left"},
        {"claim": claims[1], "choice": "left", "p_left": 0.2},
        {"claim": claims[1], "choice": "up"},
        {"choice": "left"},
        "nonsense",
        None,
        {"claim": "not an id", "choice": "left"},
        {"claim": claims[2], "choice": "tie", "rationale": "a\x00b"},
        {"claim": claims[3], "choice": "right", "p_left": 0.2, "judge": {"name": "me"}},
        {"claim": claims[4], "choice": "skip"},
    ]
    said = it.answer(items)
    statuses = [one["status"] for one in said]
    assert statuses == [200, 409, 404, 410, 422, 422, 422, 422, 422, 422, 422, 201, 201]
    for one in said:
        if one["status"] >= 400:
            assert {"claim", "type", "title", "detail"} <= one.keys()
            assert len(one["detail"]) > 5
    assert said[4]["errors"][0]["message"].startswith("p_left 0.2 is on the other side")
    assert said[2]["claim"] == stranger
    assert {one.choice for one in it.labels()} == {"left", "right", "skip"}


def test_a_number_that_is_none_spoils_no_other_answer(lab: Make) -> None:
    it = lab(2)
    it.open()
    one, two = (claim["id"] for claim in it.claim(2))
    judge = '{"name": "j", "p": [NaN]}'
    items = [f'{{"claim": "{one}", "choice": "left", "judge": {judge}}}']
    items.append(f'{{"claim": "{two}", "choice": "left"}}')
    sent = it.client.post(
        "/api/v1/claims/preferences",
        content=f'{{"items": [{", ".join(items)}]}}',
        headers={"Content-Type": "application/json"},
    )
    assert [item["status"] for item in sent.json()["items"]] == [422, 201]
    assert "NaN" in sent.json()["items"][0]["detail"]


def test_the_same_claim_twice_in_a_batch_is_one_label(lab: Make) -> None:
    it = lab(2)
    it.open()
    claim = it.claim(1)[0]["id"]
    said = it.answer([{"claim": claim, "choice": c} for c in ("right", "right", "left")])
    assert [one["status"] for one in said] == [201, 200, 409]
    assert said[0]["id"] == said[1]["id"] == said[2]["preference"]
    assert len(it.labels()) == 1


def test_a_batch_sent_twice_at_once_is_stored_once(lab: Make) -> None:
    it = lab(20)
    it.open()
    items = [{"claim": c["id"], "choice": "left"} for c in it.claim(20)]
    got: list[list[int]] = []

    def send(order: list[dict[str, str]]) -> None:
        got.append([one["status"] for one in it.answer(order)])

    threads = [threading.Thread(target=send, args=(o,)) for o in (items, items[::-1], items[5:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [status for statuses in got for status in statuses]
    assert counts.count(201) == 20
    assert set(counts) == {200, 201}
    assert len(it.labels()) == 20
    assert it.round().state == "training"


def test_limits_of_a_batch(lab: Make) -> None:
    it = lab(1)
    too_many = [{"claim": str(uuid.uuid4()), "choice": "left"}] * 501
    for body in ({"items": too_many}, {}, {"items": "x"}, [], {"items": [], "more": 1}):
        sent = it.client.post("/api/v1/claims/preferences", json=body)
        assert sent.status_code == 422
        assert sent.headers["content-type"] == "application/problem+json"
    assert it.answer([]) == []
    assert [one["status"] for one in it.answer(too_many[:500])] == [404] * 500


def test_a_stranger_answers_nothing(lab: Make) -> None:
    it, others = lab(2), lab(2)
    it.open()
    claim = it.claim(1)[0]["id"]
    said = it.answer([{"claim": claim, "choice": "left"}], others.client)
    assert [one["status"] for one in said] == [404]


def test_waiting_for_a_pair_ends_when_there_is_one(lab: Make) -> None:
    it = lab(2)
    started = time.monotonic()
    opener = threading.Timer(0.5, it.open)
    opener.start()
    got = it.claim(2, wait=20)
    opener.join()
    assert len(got) == 2
    assert time.monotonic() - started < 10


def test_waiting_holds_no_connection(lab: Make) -> None:
    it = lab(2)
    results: list[Any] = []
    waiting = threading.Thread(target=lambda: results.append(it.claim(1, wait=1.5)))
    waiting.start()
    seen = []
    for _ in range(10):
        time.sleep(0.1)
        seen.append(get_engine().pool.checkedout())
    waiting.join()
    assert min(seen) == 0
    assert results == [[]]


def test_waiting_refuses_what_makes_no_sense(lab: Make) -> None:
    it = lab(1)
    for wait in (-1, 61, "soon"):
        sent = it.client.post(f"{it.at}/claims", json={"count": 1, "wait": wait})
        assert sent.status_code == 422
