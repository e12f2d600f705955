"""docs/strategies.md, followed to the letter."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pytest

from activedpo import acquisition
from activedpo.simulation.config import SimulationConfig
from tests.acquisition.conftest import Case

GUIDE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def test_the_guides_file_is_a_strategy(pool: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("disliked")
    exec(blocks("python")[0], module.__dict__)
    monkeypatch.setitem(acquisition.STRATEGIES, "disliked", module.STRATEGY)
    s = pool.scores
    best = np.maximum(s.logp_a - s.ref_logp_a, s.logp_b - s.ref_logp_b)
    assert best[pool.acquire("disliked", 30)].tolist() == sorted(best.tolist())


def test_a_file_is_found_by_its_being_there() -> None:
    files = {f.stem for f in Path(acquisition.__path__[0]).glob("*.py")}
    assert set(acquisition.STRATEGIES) <= files


@pytest.mark.parametrize("name", sorted(acquisition.STRATEGIES))
def test_every_strategy_is_in_the_guide(name: str) -> None:
    assert f"| `{name}` |" in GUIDE


def test_the_guides_config_has_only_known_keys() -> None:
    import yaml

    keys = set(yaml.safe_load(blocks("yaml")[0]))
    assert keys <= set(SimulationConfig.model_fields)
