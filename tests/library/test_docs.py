"""The library's page runs, and names every error there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import activedpo.errors

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def test_the_page_runs_from_top_to_bottom(model_folder: Callable[..., str], tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 5
    given = {"folder": model_folder(), "out": str(tmp_path / "out")}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), given)


def test_the_page_names_every_error() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, kind in inspect.getmembers(activedpo.errors, inspect.isclass):
        if issubclass(kind, activedpo.errors.ActiveDPOError):
            assert name in text, name
