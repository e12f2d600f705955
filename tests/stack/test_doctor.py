"""``doctor`` says what is seen and what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.cli import doctor
from app.settings import Settings


def _doctor(**env: str) -> tuple[int, dict[str, dict[str, object]]]:
    ran = subprocess.run(
        [sys.executable, "-m", "app.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    report = json.loads(ran.stdout)
    assert report["ok"] == (ran.returncode == 0)
    return ran.returncode, {check["name"]: check for check in report["checks"]}


def test_a_working_stack_has_no_fault(database: Engine, environment: dict[str, str]) -> None:
    code, seen = _doctor(ACTIVEDPO_DTYPE="float32", ACTIVEDPO_DEVICE="cpu")
    assert (code, [name for name, check in seen.items() if not check["ok"]]) == (0, [])
    assert seen["device"]["detail"] == "cpu"
    assert seen["dtype"]["detail"] == "float32"
    assert str(seen["database"]["detail"]).startswith("PostgreSQL 18")
    assert str(seen["broker"]["detail"]).startswith("Redis")


def test_a_device_that_cannot_be_is_named() -> None:
    (seen,) = doctor.accelerator(Settings(dtype="float31"))
    assert not seen.ok
    assert "float31" in seen.detail
    assert "ACTIVEDPO_DTYPE" in seen.todo


def test_a_model_in_home_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "someone" / "small"
    folder.mkdir(parents=True)
    (seen,) = doctor.model(Settings(home=tmp_path, default_base_model="someone/small"))
    assert seen.detail == f"someone/small in {folder}"


def test_servers_out_of_reach_are_named_with_what_to_do(
    environment: dict[str, str], forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVEDPO_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("ACTIVEDPO_REDIS_URL", "redis://127.0.0.1:1/0")
    forget()
    found = [*doctor.database(Settings()), *doctor.broker(Settings())]
    assert [(one.name, one.ok, one.todo) for one in found] == [
        ("database", False, "check ACTIVEDPO_DATABASE_URL"),
        ("broker", False, "check ACTIVEDPO_REDIS_URL"),
    ]


def test_no_stack_is_a_fault_and_no_traceback(
    tmp_path: Path, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVEDPO_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("ACTIVEDPO_DATABASE_URL", raising=False)
    monkeypatch.delenv("ACTIVEDPO_REDIS_URL", raising=False)
    forget()
    (seen,) = doctor.database(Settings())
    assert (seen.ok, seen.todo) == (False, "activedpo up")
    assert str(tmp_path / "none") in seen.detail
