"""Rounds whose pairs are sampled by a server."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import orjson
import pytest
import torch
from sqlalchemy import select

from activedpo import server as client
from app.database import transaction
from app.projects.models import Pair
from app.rounds import story
from app.sealed import sealed_in
from app.settings import get_settings
from tests.completions import CompletionServer
from tests.worker.conftest import make_person, one_round, open_round, round_of
from worker import accelerator, child
from worker.device import Device
from worker.loaded import Models
from worker.report import Report

Serve = Callable[..., CompletionServer]


@pytest.fixture
def serve(tiny: str, settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES", "true")
    get_settings.cache_clear()
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(CompletionServer(tiny, **how))


def engine(server: CompletionServer, **more: Any) -> dict[str, Any]:
    given = {"kind": "server", "base_url": server.url, "model": server.model, **more}
    return {"engine": sealed_in(given, "api_key")}


def pairs_of(round_id: UUID) -> list[Pair]:
    with transaction() as session:
        return list(session.scalars(select(Pair).where(Pair.round_id == round_id)))


def test_each_round_is_sampled_from_its_own_policy_and_scored_by_us(
    project: Callable[..., UUID], device: Device, serve: Serve
) -> None:
    server, person = serve(key="a secret"), make_person()
    project_id = project(generation=engine(server, lora=True, api_key="a secret"))
    first = one_round(project_id, device, person)
    assert first.error is None
    assert "/load_lora_adapter" not in server.paths()
    second = one_round(project_id, device, person)
    third = one_round(project_id, device, person)
    for round in (first, second, third):
        assert round.state == "done"
        assert round.metrics["engine_samples"] == 2 * 6
        assert round.metrics["engine_retokenised"] == 0
        assert round.metrics["engine_tokens"] > 12
        assert 0 <= round.metrics["engine_logp_off"] <= round.metrics["engine_logp_furthest"] < 1e-4
        pairs = pairs_of(round.id)
        assert len(pairs) == 6
        assert all(pair.logp_a is not None and pair.tokens_a is not None for pair in pairs)
    # one adapter at a time, and each was asked for by its own name
    (kept,) = set(server.policies) - {"tiny"}
    assert kept == f"activedpo-{project_id}-2-train-1"
    asked = [body["model"] for path, body in server.asked if path == "/completions"]
    assert asked[0] == "tiny"
    assert asked[-1] == kept
    assert len(set(asked)) == 3
    shown = story.outcome(third.metrics, trained=True)
    assert any(row.name == "Server’s log-probs" for row in shown)


def test_texts_alone_are_said_to_have_been_tokenised_anew(
    project: Callable[..., UUID], device: Device, serve: Serve
) -> None:
    round_id = open_round(project(generation=engine(serve(gives="text"))))
    device.drain()
    metrics = round_of(round_id).metrics
    assert (metrics["engine_samples"], metrics["engine_retokenised"]) == (12, 12)
    assert metrics["engine_logp_off"] is None
    (row,) = [r for r in story.outcome(metrics, trained=False) if r.name == "Server’s log-probs"]
    assert "12 completions came as texts" in row.more


def test_shards_add_up(
    project: Callable[..., UUID],
    device: Device,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve()
    monkeypatch.setattr(get_settings(), "shard_prompts", 2)
    round_id = open_round(project(generation=engine(server)))
    device.drain()
    metrics = round_of(round_id).metrics
    assert metrics["engine_samples"] == 12
    completions = [p for pair in pairs_of(round_id) for p in (pair.tokens_a, pair.tokens_b)]
    assert metrics["engine_tokens"] >= sum(len(tokens or ()) for tokens in completions)
    assert metrics["engine_logp_off"] < 1e-4


def test_a_server_with_another_model_under_the_name_fails_the_round(
    project: Callable[..., UUID], device: Device, serve: Serve
) -> None:
    server = serve()
    with torch.no_grad():
        server.policies["tiny"].base.get_output_embeddings().weight.mul_(80)
    round_id = open_round(project(generation=engine(server)))
    device.drain()
    failed = round_of(round_id)
    assert (failed.state, failed.failed_stage) == ("failed", "generating")
    assert "not the policy of this round" in (failed.error or "")
    assert pairs_of(round_id) == []


def test_a_server_that_is_away_is_tried_again_and_then_fails_the_round(
    project: Callable[..., UUID], device: Device, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    round_id = open_round(project(generation=engine(server)))
    monkeypatch.setattr(client, "TRIES", 2)  # all of them take half a minute
    real = device.accelerator.run
    tries = []

    def run(kind: str, work: bytes, progress: Any) -> bytes:
        tries.append(kind)
        if len(tries) == 1:  # the first attempt meets a server that has gone
            gone = work.replace(server.url.encode(), b"http://127.0.0.1:9")
            _, told = multiprocessing.Pipe()
            # what the child does, in this process: it knows of the fewer tries
            (failed,) = child._do(kind, gone, Models(), Report(told))
            raise accelerator._failure(orjson.loads(failed))
        return real(kind, work, progress)

    monkeypatch.setattr(device.accelerator, "run", run)
    device.drain()
    assert round_of(round_id).state == "labelling"
    assert len(tries) == 2
    assert len(pairs_of(round_id)) == 6


@pytest.mark.parametrize(
    ("training", "says"), [({"lora": 4}, "set the engine's lora"), ({"lora": 0}, "full weights")]
)
def test_a_policy_that_the_server_cannot_have_fails_the_round_and_says_what_to_do(
    training: dict[str, Any],
    says: str,
    project: Callable[..., UUID],
    device: Device,
    serve: Serve,
) -> None:
    given = {"learning_rate": 1e-3, "max_steps": 2} | training
    project_id = project(generation=engine(serve()), training=given)
    assert one_round(project_id, device).state == "done"
    round_id = open_round(project_id)
    device.drain()
    failed = round_of(round_id)
    assert failed.state == "failed"
    assert says in (failed.error or "")
    assert failed.failed_stage == "generating"
