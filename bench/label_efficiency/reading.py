"""The committed results of one experiment, or of a variant of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from activedpo.simulation.config import SimulationConfig, check_config, read_mapping
from activedpo.simulation.statistics import Comparison, Curves, compare
from bench.label_efficiency.arms import make_known


@dataclass(frozen=True)
class Results:
    """One folder of results: an experiment, or a variant of one."""

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        return _read(self.folder / "about.json")

    @cached_property
    def described(self) -> dict[str, Any]:
        return _read(self.folder / "config.json")

    @cached_property
    def config(self) -> SimulationConfig:
        make_known(self.described["config"]["strategies"])
        # The files of the run are not needed to read its results.
        plain = {k: v for k, v in self.described["config"].items() if v is not None}
        plain |= {"policy": "any", "oracle": "length", "judge": "length"}
        return check_config(plain, recorded=True)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "results.parquet").to_pylist()
        return rows

    @cached_property
    def curves(self) -> dict[str, Curves]:
        """Verdicts of every arm: seed -> (rounds, items)."""
        found: dict[str, dict[int, dict[int, list[float]]]] = {}
        for row in pq.read_table(self.folder / "verdicts.parquet").to_pylist():
            arm = found.setdefault(row["strategy"], {}).setdefault(row["seed"], {})
            arm.setdefault(row["labels"], []).append(row["won"])
        return {
            arm: {s: np.array([by[n] for n in self.config.labels]) for s, by in seeds.items()}
            for arm, seeds in found.items()
        }

    @cached_property
    def compared(self) -> dict[str, Comparison]:
        """Every other arm against random; nothing where random is the only arm."""
        others = "random" in self.curves and len(self.curves) > 1
        return compare(self.curves, self.config.labels) if others else {}

    def last(self, arm: str, key: str) -> str:
        """Mean over seeds of a figure at the last round."""
        end = self.config.labels[-1]
        values = [
            row[key]
            for row in self.rows
            if row["strategy"] == arm and row["labels"] == end and row.get(key) is not None
        ]
        return f"{np.mean(values):.3f}" if values else "–"


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def experiments(home: Path) -> dict[str, list[Results]]:
    """All results by experiment: one without variants has one, else one for each variant."""
    found = {}
    for folder in sorted(f for f in home.iterdir() if f.is_dir()):
        if (folder / "about.json").is_file():
            found[folder.name] = [Results(folder)]
            continue
        # In the config's order, not the alphabet's.
        file = home.parent / "configs" / f"{folder.name}.yaml"
        names = list(read_mapping(file).get("variants", {})) if file.is_file() else []
        parts = [folder / name for name in names if (folder / name / "about.json").is_file()]
        if parts:
            found[folder.name] = [Results(part) for part in parts]
    return found
