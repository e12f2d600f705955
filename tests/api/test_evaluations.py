"""Blind evaluations over HTTP: opened, answered over the claims calls, closed, exported."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

N = 12
PROMPTS = [f"Question {n}?" for n in range(N)]


@pytest.fixture
def outputs(cast: Any) -> dict[str, str]:
    """Ids of two models' outputs to the project's eval prompts."""
    given = {"prompts": [{"prompt": text, "split": "eval"} for text in PROMPTS]}
    assert cast.owner.post(f"{cast.project}/prompts", json=given).status_code == 200
    return {name: bring(cast, name) for name in ("ours", "theirs")}


def bring(cast: Any, name: str) -> str:
    rows = [{"prompt": text, "completion": f"{name} {n}"} for n, text in enumerate(PROMPTS)]
    body = {"outputs": rows}
    answer = cast.owner.post(f"{cast.project}/outputs", params={"name": name}, json=body)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["added"], answer.json()["count"]) == (N, N)
    return str(answer.json()["id"])


def opened(cast: Any, outputs: dict[str, str], **more: Any) -> dict[str, Any]:
    body = {"a": {"outputs": outputs["ours"]}, "b": {"outputs": outputs["theirs"]}, **more}
    answer = cast.owner.post(f"{cast.project}/evaluations", json=body)
    assert answer.status_code == 202, answer.text
    view: dict[str, Any] = answer.json()
    return view


def answer_all(cast: Any, better: str, most: int = N, **more: Any) -> list[dict[str, Any]]:
    said = []
    for _ in range(most):
        items = cast.annotator.post(f"{cast.project}/claims", json={"count": 1}).json()["items"]
        if not items:
            break
        (claim,) = items
        choice = "left" if claim["left"].startswith(better) else "right"
        place = f"/api/v1/claims/{claim['id']}/preference"
        answer = cast.annotator.post(place, json={"choice": choice, **more})
        assert answer.status_code == 201, answer.text
        said.append({**answer.json(), "texts": claim})
    return said


def test_it_is_answered_over_the_claims_calls_and_decided(
    cast: Any, outputs: dict[str, str]
) -> None:
    view = opened(cast, outputs)
    assert (view["state"], view["pairs"], view["number"]) == ("open", N, 1)
    said = answer_all(cast, "ours")
    assert len(said) == 8
    for one in said:
        assert "ours" not in json.dumps({k: v for k, v in one.items() if k != "texts"})
        assert set(one["texts"]) == {"id", "expires_at", "prompt", "left", "right"}
    view = cast.owner.get(f"/api/v1/evaluations/{view['id']}").json()
    assert (view["state"], view["better"]) == ("decided", "a")
    result = view["result"]
    assert (result["rate"], result["pairs"], result["evidence_needed"]) == (1.0, 8, 20.0)
    assert result["evidence"] >= 20
    (ann,) = result["annotators"]
    assert (ann["wins"], ann["losses"], ann["rate"]) == (8, 0, 1.0)


def test_its_answers_are_no_labels(cast: Any, outputs: dict[str, str]) -> None:
    opened(cast, outputs)
    assert answer_all(cast, "ours")
    for who in (cast.owner, cast.annotator):
        assert who.get(f"{cast.project}/preferences").json()["items"] == []
    assert cast.owner.get(f"{cast.project}/export").text == ""
    assert cast.owner.get(f"{cast.project}/quality").json()["annotators"] == []
    assert cast.owner.get(f"{cast.project}").json()["counts"]["pairs"] == {}


def test_many_answers_in_one_call_are_taken(cast: Any, outputs: dict[str, str]) -> None:
    view = opened(cast, outputs, stop_early=False)
    items = cast.annotator.post(f"{cast.project}/claims", json={"count": N}).json()["items"]
    assert len(items) == N
    body = {"items": [{"claim": one["id"], "choice": "tie"} for one in items]}
    statuses = [
        one["status"]
        for one in cast.annotator.post("/api/v1/claims/preferences", json=body).json()["items"]
    ]
    assert statuses == [201] * N
    view = cast.owner.get(f"/api/v1/evaluations/{view['id']}").json()
    assert (view["state"], view["result"]["rate"]) == ("closed", 0.5)
    again = cast.annotator.post("/api/v1/claims/preferences", json=body).json()["items"]
    assert [one["status"] for one in again] == [200] * N


def test_it_is_closed_cancelled_and_listed(cast: Any, outputs: dict[str, str]) -> None:
    first, second = opened(cast, outputs), opened(cast, outputs, sample=3)
    assert second["pairs"] == 3
    closed = cast.owner.post(f"/api/v1/evaluations/{first['id']}/close")
    assert closed.json()["state"] == "closed"
    cancelled = cast.owner.post(f"/api/v1/evaluations/{second['id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    for verb in ("close", "cancel", "retry"):
        assert cast.owner.post(f"/api/v1/evaluations/{first['id']}/{verb}").status_code == 409
    listed = cast.owner.get(f"{cast.project}/evaluations").json()["items"]
    assert [one["number"] for one in listed] == [1, 2]


def test_the_answers_are_exported_by_side(cast: Any, outputs: dict[str, str]) -> None:
    asked = [{"name": "tone", "title": "What tone?", "kind": "single", "options": ["warm", "cold"]}]
    assert cast.owner.patch(cast.project, json={"questions": asked}).status_code == 200
    view = opened(cast, outputs)
    answer_all(cast, "theirs", 3, answers={"tone": "cold"})
    place = f"/api/v1/evaluations/{view['id']}/export"
    rows = [json.loads(line) for line in cast.owner.get(place).text.splitlines()]
    assert [row["winner"] for row in rows] == ["b"] * 3
    assert all(row["completion_a"].startswith("ours") for row in rows)
    assert [row["answers"] for row in rows] == [{"tone": "cold"}] * 3
    table = list(csv.DictReader(io.StringIO(cast.owner.get(f"{place}?format=csv").text)))
    assert [row["completion_b"] for row in table] == [row["completion_b"] for row in rows]
    assert cast.annotator.get(place).status_code == 403


def test_who_does_not_run_the_project_sees_no_result(cast: Any, outputs: dict[str, str]) -> None:
    place = f"/api/v1/evaluations/{opened(cast, outputs)['id']}"
    assert cast.annotator.get(place).status_code == 403
    assert cast.stranger.get(place).status_code == 404
    assert cast.annotator.get(f"{cast.project}/evaluations").status_code == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"a": {}}, "a"),
        ({"alpha": 0.7}, "alpha"),
        ({"sample": 0}, "sample"),
        ({"prompts": "train"}, "prompts"),
        ({"b": {"policy": "01234567-89ab-7def-8123-456789abcdef"}}, "b.policy"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(
    cast: Any, outputs: dict[str, str], change: dict[str, Any], field: str
) -> None:
    body = {"a": {"outputs": outputs["ours"]}, "b": {"outputs": outputs["theirs"]}, **change}
    answer = cast.owner.post(f"{cast.project}/evaluations", json=body)
    assert answer.status_code == 422
    assert any(one["field"].endswith(field) for one in answer.json()["errors"])
    assert cast.owner.get(f"{cast.project}/evaluations").json()["items"] == []


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_outputs_come_as_files_too(cast: Any, outputs: dict[str, str], suffix: str) -> None:
    rows = [["prompt", "completion"], [PROMPTS[0], "a file says"], ["no such prompt", "x"]]
    if suffix == "csv":
        content = "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    else:
        content = "\n".join(json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:])
    files = {"file": (f"outputs.{suffix}", content.encode())}
    answer = cast.owner.post(f"{cast.project}/outputs", params={"name": "file"}, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["added"] == 1
    assert [one["line"] for one in answer.json()["rejected"]] == [3 if suffix == "csv" else 2]
    listed = cast.owner.get(f"{cast.project}/outputs").json()["items"]
    assert [one["name"] for one in listed] == ["ours", "theirs", "file"]
    place = f"/api/v1/outputs/{listed[-1]['id']}"
    assert cast.owner.delete(place).status_code == 204
    assert cast.owner.delete(place).status_code == 404


def test_outputs_that_are_compared_stay(cast: Any, outputs: dict[str, str]) -> None:
    opened(cast, outputs)
    assert cast.owner.delete(f"/api/v1/outputs/{outputs['ours']}").status_code == 409


def test_sending_it_twice_with_a_key_opens_one(cast: Any, outputs: dict[str, str]) -> None:
    body = {"a": {"outputs": outputs["ours"]}, "b": {"outputs": outputs["theirs"]}}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        cast.owner.post(f"{cast.project}/evaluations", json=body, headers=headers).json()
        for _ in range(2)
    )
    assert first["id"] == second["id"]
