"""A few of the bad inputs of ``python -m bench.fuzz``, which sends a hundred thousand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from app.database import transaction
from app.projects.models import Pair, Prompt
from bench.fuzz import _run
from bench.fuzz_inputs import made
from tests.security.conftest import build

INPUTS = 300


@pytest.mark.timeout(300)
def test_no_input_is_a_fault(app: Any, database: Engine) -> None:
    tally = asyncio.run(_run(app, database, seed=1, numbers=range(INPUTS)))
    assert tally.findings == []
    assert sum(tally.inputs.values()) == INPUTS
    assert set(tally.inputs) == {"jsonl", "csv", "parquet", "call", "read", "form"}
    taken = {kind for kind, found in tally.statuses.items() if found["2xx"]}
    assert taken >= {"jsonl", "csv", "parquet", "call", "read"}  # not all is refused at the door


def test_an_input_is_made_again_from_its_number() -> None:
    ids = {"project_id": "p"}
    assert [made(3, n, ids) for n in range(50)] == [made(3, n, ids) for n in range(50)]
    assert made(3, 0, ids) != made(4, 0, ids)


@pytest.mark.parametrize("what", ["prompts", "pairs"])
def test_the_same_prompt_twice_in_one_file_is_stored_once(client: TestClient, what: str) -> None:
    world = build()
    rows = [
        {"prompt": "Twice?", "completion_a": f"a {n}", "completion_b": f"b {n}"} for n in range(3)
    ]
    answer = client.post(
        f"/api/v1/projects/{world.own['project_id']}/{what}",
        content="\n".join(map(json.dumps, rows)),
        headers=world.by_key("owner") | {"Content-Type": "application/jsonl"},
    )
    assert answer.status_code == 200, answer.text
    with transaction() as s:
        stored = [p for p in s.scalars(select(Prompt)) if p.content == "Twice?"]
        assert len(stored) == 1
        pairs = select(func.count(Pair.id)).where(Pair.prompt_id == stored[0].id)
        assert s.scalar(pairs) == (3 if what == "pairs" else 0)


def test_a_column_whose_name_is_no_text_is_told_of(client: TestClient) -> None:
    world = build()
    answer = client.post(
        f"/api/v1/projects/{world.own['project_id']}/prompts",
        content=b"prompt,s\xe8lit\nWhy?,x\n",
        headers=world.by_key("owner") | {"Content-Type": "text/csv"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored_fields"] == ["s?lit"]
