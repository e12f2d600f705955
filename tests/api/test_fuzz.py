"""Whatever is sent, the answer is never the server's fault."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.projects.models import Pair, Prompt

JSON = {"Content-Type": "application/json"}
TEXT = st.text(st.characters(exclude_categories=[]), max_size=8) | st.sampled_from(
    ["\x00", "\ud800", "x" * 300, "\u202e", "' OR 1=1 --"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["name", "email", "role", "scope", "project", "person", "expires_at", "active", "password",
     "base_model", "source", "acquisition", "batch_size", "pool_size", "system_prompt", "judge",
     "generation", "training", "seed", "archived", "prompts", "pairs", "guidelines"]
)  # fmt: skip
BODY = st.dictionaries(FIELDS | TEXT, VALUE, max_size=4)
QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
    derandomize=True,
)


def never_a_fault(answer: Any) -> None:
    assert answer.status_code < 500, (answer.request.url, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/projects"),
        ("PATCH", "{project}"),
        ("POST", "{project}/prompts"),
        ("POST", "{project}/pairs"),
        ("POST", "{project}/members"),
        ("POST", "/api/v1/people"),
        ("PATCH", "/api/v1/people/{stranger}"),
        ("POST", "/api/v1/keys"),
    ],
)
@QUICK
@given(body=BODY)
def test_no_body_is_a_fault(cast: Any, method: str, path: str, body: dict[str, Any]) -> None:
    url = path.format(project=cast.project, stranger=cast.stranger.id)
    content = json.dumps({"name": "x", **body})
    never_a_fault(cast.admin.client.request(method, url, content=content, headers=JSON))


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("kind", ["prompts", "pairs"])
@QUICK
@given(rows=st.lists(st.binary(max_size=30) | VALUE.map(lambda v: json.dumps(v).encode())))
def test_no_file_is_a_fault(cast: Any, kind: str, format: str, rows: list[bytes]) -> None:
    head = {"jsonl": b"", "csv": b"prompt,completion_a,completion_b\n", "parquet": b"PAR1"}
    files = {"file": (f"x.{format}", head[format] + b"\n".join(rows))}
    never_a_fault(cast.owner.post(f"{cast.project}/{kind}", files=files))


@QUICK
@given(query=st.dictionaries(st.sampled_from(["limit", "cursor", "split", "format"]), TEXT))
def test_no_query_is_a_fault(cast: Any, query: dict[str, str]) -> None:
    named = {name: text.encode("utf-8", "replace").decode() for name, text in query.items()}
    for path in ("", "/prompts", "/policies", "/members", "/export"):
        never_a_fault(cast.owner.client.get(f"{cast.project}{path}", params=named))


def test_imports_side_by_side_store_every_row_once(cast: Any, db: Session) -> None:
    rows = [
        json.dumps({"prompt": f"P{n}", "completion_a": "a", "completion_b": "b"})
        for n in range(3_000)
    ]
    bodies = ["\n".join(rows), "\n".join(reversed(rows))] * 2

    def send(body: str) -> int:
        url, headers = f"{cast.project}/pairs", {"Content-Type": "application/jsonl"}
        answer = cast.owner.post(url, content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["added"])

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, bodies)) == 3_000
    assert db.scalar(select(func.count(Pair.id))) == 3_000
    assert db.scalar(select(func.count(Prompt.id))) == 3_000


def test_an_unknown_project_is_unknown_everywhere(cast: Any) -> None:
    nowhere = f"/api/v1/projects/{uuid.uuid4()}"
    for path in ("", "/prompts", "/policies", "/members", "/export"):
        assert cast.admin.get(nowhere + path).status_code == 404
