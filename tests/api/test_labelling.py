"""Labelling over HTTP, as the contract says it."""

from __future__ import annotations

import json
import uuid

import pytest

LABEL = {
    *("id", "pair", "external_id", "prompt", "choice", "chosen", "left_is", "strength"),
    *(
        "rationale",
        "answers",
        "p_left",
        "judge",
        "annotator",
        "round",
        "policy",
        "seconds",
        "created_at",
    ),
}


def claim(who, url, count=1):
    answer = who.post(f"{url}/claims", json={"count": count})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def prefer(who, held, **body):
    return who.post(f"/api/v1/claims/{held['id']}/preference", json=body)


def test_an_imported_random_round_opens_for_labelling_at_once(cast, imported):
    (round,) = cast.admin.get(f"{imported}/rounds").json()["items"]
    assert round["state"] == "labelling"
    assert round["labels"] == {"done": 0, "needed": 3}
    assert round["metrics"]["win_rate"] is None
    assert round["metrics"]["win_rate_reason"]


def test_a_claim_tells_nothing_of_its_origin(cast, imported):
    (held,) = claim(cast.annotator, imported)
    assert set(held) == {"id", "expires_at", "prompt", "left", "right"}
    assert {held["left"][0], held["right"][0]} == {"a", "b"}


def test_admins_may_claim_and_strangers_find_nothing(cast, imported):
    assert len(claim(cast.admin, imported)) == 1
    assert cast.stranger.post(f"{imported}/claims", json={"count": 1}).status_code == 404


@pytest.mark.parametrize("count", [0, 101, "1", 1.5, None])
def test_a_count_out_of_range_is_named(cast, imported, count):
    answer = cast.annotator.post(f"{imported}/claims", json={"count": count})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "count" in answer.json()["detail"]


def test_an_answer_is_created_once_and_then_repeated(cast, imported):
    (held,) = claim(cast.annotator, imported)
    first = prefer(cast.annotator, held, choice="left", strength=2, rationale="clearer")
    again = prefer(cast.annotator, held, choice="left", strength=2, rationale="clearer")
    other = prefer(cast.annotator, held, choice="right")
    assert [r.status_code for r in (first, again, other)] == [201, 200, 409]
    assert first.json() == again.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "choice"),
        ({"choice": "both"}, "choice"),
        ({"choice": "left", "strength": 4}, "strength"),
        ({"choice": "left", "strength": "2"}, "strength"),
        ({"choice": "left", "p_left": 1.5}, "p_left"),
        ({"choice": "left", "p_left": 0.2}, "p_left"),
        ({"choice": "right", "p_left": 0.8}, "p_left"),
        ({"choice": "left", "colour": "red"}, "colour"),
        ({"choice": "left", "rationale": "a\x00b"}, "rationale"),
        ({"choice": "left", "judge": {"version": "1"}}, "name"),
    ],
)
def test_a_bad_answer_names_its_field_and_stores_nothing(cast, imported, body, field):
    (held,) = claim(cast.annotator, imported)
    answer = prefer(cast.annotator, held, **body)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["detail"]
    assert prefer(cast.annotator, held, choice="left").status_code == 201


def test_somebody_elses_claim_is_not_found(cast, imported):
    (held,) = claim(cast.annotator, imported)
    for who in (cast.owner, cast.admin, cast.stranger):
        assert prefer(who, held, choice="left").status_code == 404
    assert prefer(cast.annotator, {"id": uuid.uuid4()}, choice="left").status_code == 404


def test_amend_and_undo_over_http(cast, imported):
    (held,) = claim(cast.annotator, imported)
    said = prefer(cast.annotator, held, choice="left").json()
    url = f"/api/v1/preferences/{said['id']}"
    assert cast.owner.put(url, json={"choice": "tie"}).status_code == 404
    assert cast.annotator.put(url, json={"choice": "tie"}).json()["choice"] == "tie"
    back = cast.annotator.delete(url)
    assert back.json()["claim"]["id"] == held["id"]
    assert cast.annotator.delete(url).status_code == 404
    assert prefer(cast.annotator, held, choice="right").status_code == 201


def test_a_complete_batch_is_final(cast, imported):
    said = [
        prefer(cast.annotator, held, choice="left").json()
        for held in claim(cast.annotator, imported, 3)
    ]
    url = f"/api/v1/preferences/{said[0]['id']}"
    assert cast.annotator.put(url, json={"choice": "tie"}).status_code == 409
    assert cast.annotator.delete(url).status_code == 409
    (round,) = cast.admin.get(f"{imported}/rounds").json()["items"]
    assert (round["state"], round["labels"]) == ("training", {"done": 3, "needed": 3})


def test_release_over_http(cast, imported):
    (held,) = claim(cast.annotator, imported)
    assert cast.owner.post(f"/api/v1/claims/{held['id']}/release").status_code == 404
    assert cast.annotator.post(f"/api/v1/claims/{held['id']}/release").status_code == 200


def test_a_queue_that_only_looks_empty_says_so(cast, imported):
    held = claim(cast.owner, imported, 3)
    empty = cast.annotator.post(f"{imported}/claims", json={"count": 1}).json()
    assert empty == {"items": [], "waiting": 3}
    cast.owner.post(f"/api/v1/claims/{held[0]['id']}/release")
    assert len(claim(cast.annotator, imported)) == 1
    assert cast.annotator.post(f"{imported}/claims", json={"count": 1}).json()["waiting"] == 2


def test_labels_are_listed_with_everything_about_them(cast, imported):
    (held,) = claim(cast.annotator, imported)
    judge = {"name": "me", "version": "1", "prompt_hash": "x"}
    prefer(cast.annotator, held, choice="left", p_left=0.9, judge=judge)
    (label,) = cast.admin.get(f"{imported}/preferences").json()["items"]
    assert set(label) == LABEL
    assert label["chosen"] == label["left_is"] == held["left"][0]
    assert label["external_id"][1:] == held["left"][1:]
    assert (label["annotator"], label["judge"]) == (cast.annotator.email, judge)


def test_an_annotator_sees_only_ones_own_labels(cast, imported):
    for who in (cast.annotator, cast.owner):
        (held,) = claim(who, imported)
        prefer(who, held, choice="tie")
    (mine,) = cast.annotator.get(f"{imported}/preferences").json()["items"]
    assert mine["annotator"] == cast.annotator.email
    assert cast.stranger.get(f"{imported}/preferences").status_code == 404


def test_labels_come_in_pages(cast, imported):
    for held in claim(cast.annotator, imported, 2):
        prefer(cast.annotator, held, choice="tie")
    first = cast.admin.get(f"{imported}/preferences?limit=1").json()
    second = cast.admin.get(f"{imported}/preferences?limit=1&cursor={first['next']}").json()
    assert len(first["items"]) == len(second["items"]) == 1
    assert second["next"] is None
    assert first["items"][0]["id"] != second["items"][0]["id"]


def test_a_second_round_while_one_is_open_is_a_conflict(cast, imported):
    answer = cast.admin.post(f"{imported}/rounds")
    assert answer.status_code == 409
    assert "Round 1 is still labelling" in answer.json()["detail"]


def test_only_managers_open_and_move_rounds(cast, imported):
    (round,) = cast.admin.get(f"{imported}/rounds").json()["items"]
    for who, status in ((cast.annotator, 403), (cast.stranger, 404)):
        assert who.post(f"{imported}/rounds").status_code == status
        for verb in ("cancel", "retry", "train"):
            assert who.post(f"/api/v1/rounds/{round['id']}/{verb}").status_code == status
    assert cast.annotator.get(f"/api/v1/rounds/{round['id']}").status_code == 200
    assert cast.stranger.get(f"/api/v1/rounds/{round['id']}").status_code == 404


def test_a_round_is_cut_short_cancelled_and_retried_only_where_it_can_be(cast, imported):
    (round,) = cast.admin.get(f"{imported}/rounds").json()["items"]
    url = f"/api/v1/rounds/{round['id']}"
    assert cast.admin.post(f"{url}/retry").status_code == 409
    (held,) = claim(cast.annotator, imported)
    prefer(cast.annotator, held, choice="left")
    assert cast.admin.post(f"{url}/train").json()["state"] == "training"
    assert cast.admin.post(f"{url}/train").status_code == 409
    assert cast.admin.post(f"{url}/cancel").json()["state"] == "cancelled"
    assert cast.admin.post(f"{url}/cancel").status_code == 409


def test_everyone_skipping_everything_ends_the_round_and_says_so(cast):
    body = {"name": "Solo", "source": "imported", "acquisition": "random", "batch_size": 2}
    url = f"/api/v1/projects/{cast.admin.post('/api/v1/projects', json=body).json()['id']}"
    pairs = [{"prompt": f"p{i}", "completion_a": "a", "completion_b": "b"} for i in range(3)]
    cast.admin.post(f"{url}/pairs", json={"pairs": pairs})
    cast.admin.post(f"{url}/rounds")
    skipped = 0
    while items := claim(cast.admin, url, 5):
        for held in items:
            assert prefer(cast.admin, held, choice="skip").status_code == 201
            skipped += 1
    (round,) = cast.admin.get(f"{url}/rounds").json()["items"]
    assert skipped == 3
    assert (round["state"], round["policy_out"]) == ("done", round["policy_in"])
    assert "policy stays" in round["metrics"]["note"]


def test_html_is_given_only_to_who_asks_and_tells_no_more(cast, imported):
    (held,) = cast.annotator.post(f"{imported}/claims?html=1", json={}).json()["items"]
    assert set(held) == {"id", "expires_at", "prompt", "left", "right", "html"}
    assert held["html"] == {
        "prompt": [f"<p>{held['prompt']}</p>\n"],
        "left": f"<p>{held['left']}</p>\n",
        "right": f"<p>{held['right']}</p>\n",
    }
    (again,) = cast.annotator.get(f"{imported}/claims").json()["items"]
    assert "html" not in again
    assert "html" in cast.annotator.get(f"{imported}/claims?html=1").json()["items"][0]


def test_flags_and_the_reason_of_a_skip_are_kept_and_exported(cast, imported):
    one, two = claim(cast.annotator, imported, 2)
    said = prefer(cast.annotator, one, choice="left", flags=["unsafe", "broken"], strength=2)
    assert said.json()["flags"] == ["broken", "unsafe"]
    assert (
        prefer(cast.annotator, two, choice="skip", reason="No idea").json()["reason"] == "No idea"
    )
    rows = [json.loads(x) for x in cast.admin.get(f"{imported}/export").content.splitlines()]
    assert {(r["choice"], tuple(r["flags"]), r["reason"]) for r in rows} == {
        ("left", ("broken", "unsafe"), None),
        ("skip", (), "No idea"),
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"choice": "left", "flags": ["ugly"]}, "flags"),
        ({"choice": "left", "reason": "No idea"}, "reason"),
        ({"choice": "skip", "reason": "x" * 1001}, "reason"),
    ],
)
def test_what_cannot_be_said_names_its_field(cast, imported, body, field):
    (held,) = claim(cast.annotator, imported)
    answer = prefer(cast.annotator, held, **body)
    assert answer.status_code == 422
    assert field in answer.text


def test_a_project_may_want_a_rationale_of_people_with_every_choice(cast, imported):
    assert cast.admin.patch(imported, json={"require_rationale": True}).status_code == 200
    one, two, three = claim(cast.annotator, imported, 3)
    bare = prefer(cast.annotator, one, choice="left", rationale=" ")
    assert bare.status_code == 422
    assert "rationale" in bare.json()["detail"]
    said = prefer(cast.annotator, one, choice="left", rationale="Clearer.")
    assert said.status_code == 201
    changed = f"/api/v1/preferences/{said.json()['id']}"
    assert cast.annotator.put(changed, json={"choice": "right"}).status_code == 422
    assert prefer(cast.annotator, two, choice="skip").status_code == 201
    items = [{"claim": three["id"], "choice": "tie"}]
    (many,) = cast.annotator.post("/api/v1/claims/preferences", json={"items": items}).json()[
        "items"
    ]
    assert many["status"] == 422
    items[0]["judge"] = {"name": "a machine"}
    (many,) = cast.annotator.post("/api/v1/claims/preferences", json={"items": items}).json()[
        "items"
    ]
    assert many["status"] == 201
