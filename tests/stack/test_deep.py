"""``doctor --deep`` uses each part of a running stack, and says which one does not work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from activedpo.testing import tiny_model
from app.cli import deep
from app.settings import Settings

pytestmark = pytest.mark.timeout(240)


def test_a_running_stack_is_proved_by_use(start: Any, tmp_path: Path) -> None:
    tiny = tiny_model(tmp_path / "tiny")
    stack = start(ACTIVEDPO_DEFAULT_BASE_MODEL=tiny, ACTIVEDPO_DTYPE="float32", OMP_NUM_THREADS="1")
    stack.printed("API key")

    broker = Settings(redis_url=stack.state["redis_url"])
    # The web server answers before the worker does
    stack.wait_for(lambda: all(queue.ok for queue in deep.queues(broker)), "a worker")
    command = [sys.executable, "-m", "app.cli", "doctor", "--deep", "--json"]
    ran = subprocess.run(command, env=stack.env, capture_output=True, text=True, check=False)
    seen = {check["name"]: check for check in json.loads(ran.stdout)["checks"]}
    for name in ("queue train", "queue generate", "queue default", "artefacts", "model at work"):
        assert seen[name]["ok"], seen[name]
    assert f":{stack.state['pids']['worker']} in " in seen["queue train"]["detail"]
    assert not list((stack.home / "artifacts").rglob("file"))


def test_a_queue_that_nobody_serves_is_named(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "ANSWER_SECONDS", 1)
    found = deep.queues(Settings(redis_url=redis_url))
    assert not any(queue.ok for queue in found)
    assert {queue.name: queue.todo.partition(";")[0] for queue in found} == {
        "queue train": "activedpo worker --takes train",
        "queue generate": "activedpo worker --takes generate",
        "queue default": "activedpo worker --takes cpu",
    }


def test_what_does_not_work_is_named(tmp_path: Path) -> None:
    (queues,) = deep.queues(Settings(redis_url=None))
    assert not queues.ok
    missing = deep.model(Settings(home=tmp_path, default_base_model=str(tmp_path / "none")))
    assert not missing.ok
    assert "ACTIVEDPO_DEFAULT_BASE_MODEL" in missing.todo
