"""Every log of the suite is read for secrets: what a test printed or logged, itself and by its
child processes, when it is over, and every log file when the run is.

Tests plant secrets: each holds ``PLANTED``, and API keys are known by their shape. A test whose
output has one fails, whatever else it was about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PLANTED = "planted-secret"
_SHAPES = re.compile(rf"{PLANTED}|adpo_[A-Za-z0-9_-]{{43}}")
_KNOWN: set[str] = set()
_ROTATED = "*.log*"


def know(secret: str) -> None:
    """Look for this one as well: it was generated."""
    if len(secret) >= 12:
        _KNOWN.add(secret)


def found_in(text: str) -> list[str]:
    """The lines with a secret, each without it."""
    lines = []
    for line in text.splitlines():
        told = _SHAPES.sub("[a secret]", line)
        for secret in _KNOWN:
            told = told.replace(secret, "[a secret]")
        if told != line:
            lines.append(told)
    return lines


def in_files(folder: Path) -> list[str]:
    """The same of every log file below a folder."""
    files = sorted(file for file in folder.rglob(_ROTATED) if file.is_file())
    return [
        f"{file.relative_to(folder)}: {line}"
        for file in files
        for line in found_in(file.read_text(errors="replace"))
    ]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # what it returns is the report, for which pytest has no better type
    report = yield
    if call.when == "teardown":  # by now it holds what setup, call and teardown said
        lines = [line for name, text in report.sections for line in found_in(text)]
        if lines:
            report.outcome = "failed"
            report.longrepr = "a log tells a secret:\n" + "\n".join(lines[:20])
    return report


@pytest.fixture(scope="session", autouse=True)
def _log_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    lines = in_files(tmp_path_factory.getbasetemp())
    assert lines == [], "a log file of the suite tells a secret"
