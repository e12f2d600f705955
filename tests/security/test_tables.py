"""The tables of what was tried name tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME, PLACE = (
    re.compile(r"`(?:[\w/]+\.py::)?(test_\w+)`"),
    re.compile(r"`(tests/[\w/]+(?:\.py)?)\b"),
)


def defined() -> set[str]:
    """Every test's name."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }


@pytest.mark.parametrize("page", ["security", "reliability"])
def test_every_test_that_a_table_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named, places = set(NAME.findall(text)), set(PLACE.findall(text))
    assert named
    assert sorted(named - defined()) == []
    assert sorted(place for place in places if not (ROOT / place).exists()) == []


def test_no_line_of_a_table_is_without_its_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    for title in ("## Against OWASP", "## It happened to tools like this one"):
        section = text[text.index(title) :].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
        assert [line for line in lines if "test" not in line] == []
