"""The reading of all logs finds what it is there to find: see :mod:`tests.leaks`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.people.actions import KEY_START
from tests import leaks

ROOT = Path(__file__).parents[2]
A_KEY = KEY_START + "x" * 43


@pytest.mark.parametrize(
    "body",
    [
        f"print('{A_KEY}')",
        f"import structlog; structlog.get_logger().info('asked', url='?key={leaks.PLANTED}-1')",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(\"{A_KEY}\")'])",
        f"(tmp_path / 'web.log').write_text('{A_KEY}')",
    ],
    ids=["printed", "logged", "by a child", "in a file"],
)
def test_a_test_whose_log_tells_a_secret_fails(body: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it(tmp_path):\n    {body}\n")
    command = ["-m", "pytest", "-q", "-p", "tests.leaks", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, *command, f"--rootdir={tmp_path}", f"--basetemp={tmp_path / 'temp'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(tmp_path / "temp", ignore_errors=True)  # its log is read when this run ends too
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "tells a secret" in ran.stdout
    assert "[a secret]" in ran.stdout


def test_what_is_generated_is_known() -> None:
    assert leaks.found_in("a password in the open: hunter2hunter2") == []
    leaks.know("hunter2hunter2")
    try:
        assert leaks.found_in("a password in the open: hunter2hunter2") == [
            "a password in the open: [a secret]"
        ]
    finally:
        leaks._KNOWN.discard("hunter2hunter2")
