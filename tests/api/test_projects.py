"""Projects: what they take, what they refuse, who may do it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt

URL = "/api/v1/projects"


def test_a_name_is_enough(cast: Any, db: Session) -> None:
    made = cast.admin.post(URL, json={"name": "Haiku"})
    assert made.status_code == 201
    project = made.json()
    expected = {
        "name": "Haiku",
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "source": "generated",
        "acquisition": "certainty",
        "batch_size": 32,
        "pool_size": 128,
        "audit_fraction": 0.0,
        "overlap": 1,
        "overlap_share": 1.0,
        "system_prompt": None,
        "judge": None,
        "chat": "auto",
        "auto_next": False,
    }
    assert {name: project[name] for name in expected} == expected
    assert project["training"]["beta"] == 0.1
    assert project["training"]["learning_rate"] == 1e-4
    assert project["generation"]["max_new_tokens"] == 128
    base = db.scalars(select(Policy).where(Policy.project_id == uuid.UUID(project["id"]))).one()
    assert (base.number, base.kind, str(base.id)) == (0, "base", project["policy"])
    seen = cast.admin.get(f"{URL}/{project['id']}").json()
    assert seen.pop("counts") == {"prompts": {"train": 0, "eval": 0}, "pairs": {}}
    assert seen == project


def test_every_setting_comes_back_as_it_was_sent(cast: Any) -> None:
    body = {
        "name": "  N" + "n" * 190 + "  ",
        "base_model": "/models/mine",
        "source": "imported",
        "acquisition": "entropy_certainty",
        "cold_start": "entropy",
        "batch_size": 100_000,
        "pool_size": 200_000,
        "audit_fraction": 0.1,
        "overlap": 3,
        "overlap_share": 0.25,
        "system_prompt": "Be kind. ☃",
        "chat": "off",
        "guidelines": "Choose **well**.",
        "generation": {
            "temperature": 0.7,
            "top_k": 50,
            "prune": [0.1, 1.0],
            "near_duplicates": 0.9,
        },
        "training": {
            "lora": 0,
            "beta": 0.2,
            "strength": {"1": 0.7, "2": 0.85, "3": 1.0},
            "processes": 8,
            "strategy": "fsdp2",
        },
        "judge": {"kind": "sentiment"},
        "auto_next": True,
        "claim_seconds": 60,
        "seed": 7,
    }
    project = cast.admin.post(URL, json=body).json()
    for name in body.keys() - {"generation", "training", "name"}:
        assert project[name] == body[name]
    assert project["name"] == body["name"].strip()
    assert project["generation"] | body["generation"] == project["generation"]
    assert project["generation"]["max_new_tokens"] == 128
    assert project["training"]["learning_rate"] == 1e-6
    assert project["training"]["strength"] == {"1": 0.7, "2": 0.85, "3": 1.0}


def test_an_imported_project_chooses_among_every_open_pair(cast: Any) -> None:
    project = cast.admin.post(URL, json={"name": "x", "source": "imported"}).json()
    assert project["pool_size"] is None


BAD = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": " \t"}, "name"),
    ({"name": "n" * 201}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "a\ud800"}, "name"),
    ({"name": 7}, "name"),
    ({"name": None}, "name"),
    ({"colour": "red"}, "colour"),
    ({"base_model": ""}, "base_model"),
    ({"base_model": "a\x00"}, "base_model"),
    ({"source": "found"}, "source"),
    ({"acquisition": "magic"}, "acquisition"),
    ({"acquisition": 1}, "acquisition"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": -1}, "batch_size"),
    ({"batch_size": 100_001}, "batch_size"),
    ({"batch_size": "8"}, "batch_size"),
    ({"batch_size": 8.5}, "batch_size"),
    ({"batch_size": True}, "batch_size"),
    ({"batch_size": 10**30}, "batch_size"),
    ({"batch_size": 8, "pool_size": 7}, "batch_size"),
    ({"pool_size": 7}, "batch_size"),
    ({"pool_size": 0}, "pool_size"),
    ({"audit_fraction": 1.1}, "audit_fraction"),
    ({"generation": {"prune": [0.9, 0.1]}}, "generation.prune"),
    ({"generation": {"prune": [0.1]}}, "generation.prune"),
    ({"generation": {"near_duplicates": 0}}, "generation.near_duplicates"),
    ({"training": {"gate": 0.5}}, "training.gate"),
    ({"training": {"trainer": "trl", "opinions": "reliability"}}, "training.opinions"),
    ({"generation": {"engine": {"base_url": "x", "model": "m"}}}, "generation.engine.base_url"),
    ({"generation": {"engine": {"base_url": "http://a.b/?q", "model": "m"}}}, "generation.engine"),
    ({"generation": {"engine": {"base_url": "http://127.0.0.1/", "model": "m"}}}, "generation"),
    ({"generation": {"engine": {"base_url": "http://a.b"}}}, "generation.engine.model"),
    ({"training": {"processes": 0}}, "training.processes"),
    ({"training": {"trainer": "trl", "processes": 2}}, "training.processes"),
    ({"training": {"lora": 4, "strategy": "fsdp2"}}, "training.strategy"),
    ({"training": {"lora": 0, "strategy": "deepspeed"}}, "training.strategy"),
    ({"audit_fraction": -0.1}, "audit_fraction"),
    ({"audit_fraction": float("nan")}, "audit_fraction"),
    ({"audit_fraction": "0.5"}, "audit_fraction"),
    ({"overlap": 0}, "overlap"),
    ({"overlap_share": 2}, "overlap_share"),
    ({"system_prompt": "a\x00"}, "system_prompt"),
    ({"system_prompt": "a\udfff"}, "system_prompt"),
    ({"system_prompt": ["x"]}, "system_prompt"),
    ({"chat": "on"}, "chat"),
    ({"auto_next": 1}, "auto_next"),
    ({"auto_next": "yes"}, "auto_next"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**31}, "seed"),
    ({"claim_seconds": 0}, "claim_seconds"),
    ({"generation": 1}, "generation"),
    ({"generation": {"temperature": 0}}, "generation.temperature"),
    ({"generation": {"temperature": float("inf")}}, "generation.temperature"),
    ({"generation": {"top_p": 1.5}}, "generation.top_p"),
    ({"generation": {"max_new_tokens": 0}}, "generation.max_new_tokens"),
    ({"generation": {"maximum": 1}}, "generation.maximum"),
    ({"training": {"beta": 0}}, "training.beta"),
    ({"training": {"lora": -1}}, "training.lora"),
    ({"training": {"loss": "kto"}}, "training.loss"),
    ({"training": {"batchsize": 1}}, "training.batchsize"),
    ({"training": {"strength": {"4": 1.0}}}, "training.strength"),
    ({"judge": "sentiment"}, "judge"),
    ({"judge": {}}, "judge"),
    ({"judge": {"kind": "x", "deep": [{"a": "\x00"}]}}, "judge"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_taken_is_named(
    cast: Any, db: Session, body: dict[str, Any], field: str
) -> None:
    body = body if "name" in body or not body else {"name": "x", **body}
    headers = {"Content-Type": "application/json"}
    answer = cast.admin.post(URL, content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["errors"][0]["field"].startswith(field)
    assert db.scalars(select(Project.name)).all() == ["Replies"]


@pytest.mark.parametrize(
    ("change", "field"), [(b, f) for b, f in BAD if "name" not in f and "pool" not in str(b)]
)
def test_a_change_is_checked_as_strictly(cast: Any, change: dict[str, Any], field: str) -> None:
    before = cast.owner.get(cast.project).json()
    headers = {"Content-Type": "application/json"}
    answer = cast.owner.patch(cast.project, content=json.dumps(change), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert cast.owner.get(cast.project).json() == before


def test_an_unknown_acquisition_names_the_known_ones(cast: Any) -> None:
    answer = cast.admin.post(URL, json={"name": "x", "acquisition": "magic"})
    for name in ("certainty", "entropy", "entropy_certainty", "random"):
        assert name in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 50_000])
def test_a_body_that_is_no_object_is_no_fault_of_the_server(cast: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for answer in (
        cast.admin.post(URL, content=body, headers=headers),
        cast.admin.patch(cast.project, content=body, headers=headers),
    ):
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_change_changes_what_it_names(cast: Any) -> None:
    before = cast.owner.get(cast.project).json()
    change = {"name": "New", "generation": {"top_p": 0.9}, "training": {"lora": 0}}
    after = cast.owner.patch(cast.project, json=change).json()
    assert after["name"] == "New"
    assert after["generation"] == {**before["generation"], "top_p": 0.9}
    assert after["training"] == {**before["training"], "lora": 0, "learning_rate": 1e-6}
    kept = before.keys() - {*change, "counts"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert cast.owner.patch(cast.project, json={"archived": True}).json()["archived"] is True
    assert cast.owner.patch(cast.project, json={"archived": "no"}).status_code == 422
    assert cast.owner.patch(cast.project, json={}).json()["archived"] is True


def test_a_default_pool_follows_the_batch(cast: Any) -> None:
    assert cast.owner.patch(cast.project, json={"batch_size": 10}).json()["pool_size"] == 40
    assert cast.owner.patch(cast.project, json={"pool_size": 12}).json()["pool_size"] == 12
    assert cast.owner.patch(cast.project, json={"batch_size": 13}).status_code == 422
    assert cast.owner.patch(cast.project, json={"pool_size": None}).json()["pool_size"] == 40


def test_the_base_of_a_new_project_may_change(cast: Any, db: Session) -> None:
    assert cast.owner.patch(cast.project, json={"base_model": "other"}).status_code == 200
    bases = select(Policy.base_model).where(Policy.project_id == cast.project_id)
    assert db.scalars(bases).one() == "other"


def test_what_existing_data_rests_on_is_fixed(cast: Any) -> None:
    with transaction() as session:
        prompt = Prompt(project_id=cast.project_id, content="P", content_hash="h")
        session.add(prompt)
        session.flush()
        pair = Pair(
            project_id=cast.project_id, prompt_id=prompt.id, completion_a="a", completion_b="b"
        )
        session.add(pair)
    refused = cast.owner.patch(cast.project, json={"source": "imported"})
    assert refused.status_code == 409
    assert "source" in refused.json()["detail"]
    assert cast.owner.patch(cast.project, json={"source": "generated"}).status_code == 200
    assert cast.owner.patch(cast.project, json={"base_model": "mended"}).status_code == 200
    with transaction() as session:
        session.execute(update(Pair).values(policy_id=select(Policy.id).scalar_subquery()))
    for field, value in (("base_model", "other"), ("chat", "off"), ("system_prompt", "x")):
        answer = cast.owner.patch(cast.project, json={field: value, "name": "New"})
        assert answer.status_code == 409, field
        assert field in answer.json()["detail"]
    assert cast.owner.get(cast.project).json()["name"] == "Replies"


def test_who_may_see_and_change(cast: Any, anyone: Any) -> None:
    for somebody, see, change in (
        (anyone, 401, 401),
        (cast.stranger, 404, 404),
        (cast.annotator, 200, 403),
        (cast.owner, 200, 200),
        (cast.admin, 200, 200),
    ):
        assert somebody.get(cast.project).status_code == see
        assert somebody.patch(cast.project, json={"name": "x"}).status_code == change
    for somebody in (cast.stranger, cast.annotator, cast.owner):
        assert somebody.post(URL, json={"name": "x"}).status_code == 403
    assert cast.admin.get(f"{URL}/{uuid.uuid4()}").status_code == 404
    assert cast.admin.get(f"{URL}/7").status_code == 422


def test_lists_hold_what_one_may_see_a_page_at_a_time(cast: Any) -> None:
    for number in range(4):
        cast.admin.post(URL, json={"name": f"P{number}"})
    assert [item["name"] for item in cast.owner.get(URL).json()["items"]] == ["Replies"]
    assert cast.stranger.get(URL).json() == {"items": [], "next": None}
    names: list[str] = []
    url: str | None = f"{URL}?limit=2"
    while url:
        page = cast.admin.get(url).json()
        assert len(page["items"]) <= 2
        names += [item["name"] for item in page["items"]]
        url = f"{URL}?limit=2&cursor={page['next']}" if page["next"] else None
    assert names == ["Replies", "P0", "P1", "P2", "P3"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "cursor=", "cursor=x", "cursor=%00", "cursor=ü"]
)
def test_a_bad_page_is_named(cast: Any, query: str) -> None:
    answer = cast.admin.get(f"{URL}?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in ("limit", "cursor")


def test_the_key_of_a_server_is_sealed_and_never_shown(cast: Any, db: Session) -> None:
    engine = {"base_url": "https://1.1.1.1/v1/", "model": "m", "api_key": "a secret"}
    made = cast.admin.post(URL, json={"name": "x", "generation": {"engine": engine}}).json()
    shown = made["generation"]["engine"]
    assert (shown["api_key"], shown["base_url"]) == ("********", "https://1.1.1.1/v1")
    assert (shown["kind"], shown["lora"], shown["concurrency"]) == ("server", False, 16)
    stored = db.get_one(Project, uuid.UUID(made["id"])).generation["engine"]["api_key"]
    assert stored.startswith("sealed:")
    path = f"{URL}/{made['id']}"
    # what is around it changes, and it stays; a mask is no key
    cast.admin.patch(path, json={"generation": {"temperature": 0.5}})
    db.expire_all()
    assert db.get_one(Project, uuid.UUID(made["id"])).generation["engine"]["api_key"] == stored
    refused = cast.admin.patch(path, json={"generation": {"engine": shown}})
    assert refused.status_code == 422
    assert "masked" in refused.json()["detail"]
    gone = cast.admin.patch(path, json={"generation": {"engine": None}}).json()
    assert gone["generation"]["engine"] is None
