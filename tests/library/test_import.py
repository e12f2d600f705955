"""What a web process may import without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import activedpo

LIGHT = [
    "activedpo",
    "activedpo.types",
    "activedpo.errors",
    "activedpo.acquisition",
    "activedpo.oracles",
    "activedpo.evaluation",
]


@pytest.mark.parametrize("module", LIGHT)
def test_it_imports_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    for name in activedpo.__all__:
        assert getattr(activedpo, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = activedpo.nope
