"""``doctor`` says what is seen and what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine


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


def test_a_model_in_home_is_seen(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "someone" / "small"
    folder.mkdir(parents=True)
    _, seen = _doctor(ACTIVEDPO_HOME=str(tmp_path), ACTIVEDPO_DEFAULT_BASE_MODEL="someone/small")
    assert seen["model"]["detail"] == f"someone/small in {folder}"


def test_what_is_wrong_is_named_with_what_to_do(tmp_path: Path) -> None:
    code, seen = _doctor(
        ACTIVEDPO_HOME=str(tmp_path),
        ACTIVEDPO_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        ACTIVEDPO_REDIS_URL="redis://127.0.0.1:1/0",
        ACTIVEDPO_DTYPE="float31",
    )
    wrong = {name: check["todo"] for name, check in seen.items() if not check["ok"]}
    assert code == 1
    assert wrong["database"] == "check ACTIVEDPO_DATABASE_URL"
    assert wrong["broker"] == "check ACTIVEDPO_REDIS_URL"
    assert "ACTIVEDPO_DTYPE" in wrong["device"]
    assert "float31" in str(seen["device"]["detail"])


def test_no_stack_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    code, seen = _doctor(
        ACTIVEDPO_HOME=str(tmp_path / "none"), ACTIVEDPO_DATABASE_URL="", ACTIVEDPO_REDIS_URL=""
    )
    assert code == 1
    assert seen["database"]["todo"] == "activedpo up"
