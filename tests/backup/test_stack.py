"""A backup of a running stack, restored into an empty HOME, where the work goes on."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.driver import Visitor, files_below, visitor_of

pytestmark = pytest.mark.timeout(280)


def _sign_in(stack: Any) -> tuple[str, str]:
    return stack.printed("sign in as"), stack.printed("password")


def test_a_round_goes_on_in_the_restored_stack(
    start: Any, run: Any, tiny: str, tmp_path: Path
) -> None:
    first, said = start(home=tmp_path / "first"), {}
    there = visitor_of(first)
    project = there.project(tiny)
    done = there.a_round(project, said)
    half = there.open_round(project)
    there.wait_for(half, "labelling")
    there.label(project, said, upto=2)

    file = tmp_path / "yesterday.tar"
    taken = run("backup", file, HOME=first.home)  # while it runs
    assert taken.returncode == 0, taken.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert files_below(tmp_path / "first" / "artifacts")
    there.label(project, {}, upto=1)  # what came later is not in it
    who, password = _sign_in(first)
    key = first.printed("API key")
    policies = there.everything(f"/projects/{project}/policies")
    first.end()

    back = run("restore", file, HOME=tmp_path / "second")
    assert back.returncode == 0, back.stderr
    assert f"{len(said)} preferences" in back.stdout
    for name in ("secret_key", "secrets/api_key"):
        restored = tmp_path / "second" / name
        assert restored.read_text() == (tmp_path / "first" / name).read_text()
        assert stat.S_IMODE(restored.stat().st_mode) == 0o600
    assert not (tmp_path / "second" / ".restoring").exists()

    second = start(home=tmp_path / "second")
    assert (second.printed("API key"), *_sign_in(second)) == (key, who, password)
    here = Visitor(f"http://127.0.0.1:{second.port}", key)
    signed_in = httpx.post(
        f"http://127.0.0.1:{second.port}/api/v1/sign-in",
        json={"email": who, "password": password},
    )
    assert signed_in.status_code == 200
    assert {p["id"] for p in here.everything(f"/projects/{project}/preferences")} == set(said)
    assert here.everything(f"/projects/{project}/policies") == policies
    assert here.get(f"/rounds/{done}")["state"] == "done"
    here.label_round(project, half, said)
    trained = here.wait_for(half, "done")
    assert trained["policy_in"] == here.get(f"/rounds/{done}")["policy_out"]
    assert trained["metrics"]["trained_pairs"] == len(said) == 8
    second.end()


def test_a_stack_that_stands_still_is_backed_up_too(start: Any, run: Any, tmp_path: Path) -> None:
    stack = start(home=tmp_path / "home")
    visitor_of(stack).project("any", prompts=3)
    stack.end()
    file = tmp_path / "still.tar"
    taken = run("backup", file, "--json", HOME=tmp_path / "home")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["rows"]["prompts"] == 3

    refused = run("restore", file, HOME=tmp_path / "home")
    assert refused.returncode == 1
    assert "is not empty (it holds" in refused.stderr
    restored = run("restore", file, "--json", HOME=tmp_path / "new")
    assert json.loads(restored.stdout)["rows"]["projects"] == 1
    refused = run("restore", file, HOME=tmp_path / "new")
    assert "is not empty" in refused.stderr
