"""A HOME with a database in it, and the stack fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from activedpo.testing import tiny_model
from tests.stack.conftest import start

__all__ = ["start"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny chat model."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def run() -> Run:
    """Runs the ``activedpo`` command as a user does."""

    def _run(*arguments: object, **env: str | Path) -> subprocess.CompletedProcess[str]:
        plain = {key: v for key, v in os.environ.items() if not key.startswith("ACTIVEDPO_")}
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**plain, **{f"ACTIVEDPO_{key}": str(value) for key, value in env.items()}},
            check=False,
        )

    return _run
