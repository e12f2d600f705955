"""What an experiment's config asks for: one simulation, or variants of it, on every seed.

A config is that of `activedpo simulate` with three keys more: `variants` (a name and the keys that
differ, each), `fit_each_seed` (π₀ fitted anew for each seed, its number being the fit's seed, so
that what is found does not hang on one fit) and `labels_file` (recorded labels, as `--labels`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activedpo.simulation.config import Fit, SimulationConfig, check_config, find_file, read_mapping
from bench.label_efficiency.arms import make_known


@dataclass(frozen=True, slots=True)
class Part:
    """What is run at a time: a variant on one seed. `variant` is "" where there is but one."""

    variant: str
    seed: int
    config: SimulationConfig
    labels_file: str | None = None

    @property
    def policy_key(self) -> str:
        """Equal for parts that start from the same π₀."""
        described = json.dumps(self.config.model_dump(mode="json")["policy"], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def folder(self, root: Path) -> Path:
        """Where its rounds lie under the experiment's folder."""
        return root / (self.variant or "all") / str(self.seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment: the config of each variant, in the file's order."""

    variants: dict[str, SimulationConfig]
    fit_each_seed: bool
    labels_file: str | None = None

    def seeds(self, variant: str) -> list[int]:
        """The seeds a variant is run on."""
        return list(self.variants[variant].seeds)

    def part(self, variant: str, seed: int) -> Part:
        """A variant on one seed."""
        config = self.variants[variant].model_copy(update={"seeds": [seed]})
        if self.fit_each_seed and isinstance(config.policy, Fit):
            policy = config.policy.model_copy(update={"seed": seed})
            config = config.model_copy(update={"policy": policy})
        return Part(variant, seed, config, self.labels_file)

    def parts(self, only: list[str] | None = None) -> list[Part]:
        """All of them, seed by seed: an end before the end leaves variants equally far."""
        wanted = [name for name in self.variants if not only or name in only]
        seeds = list(dict.fromkeys(seed for name in wanted for seed in self.seeds(name)))
        pairs = [(name, seed) for seed in seeds for name in wanted if seed in self.seeds(name)]
        return [self.part(*pair) for pair in pairs]


def read_plan(file: Path) -> Plan:
    """Reads a config of `configs/`; raises InvalidConfig as `read_config` does."""
    content = read_mapping(file)
    variants: dict[str, Any] = content.pop("variants", None) or {"": {}}
    recorded = content.pop("labels_file", None)
    each = bool(content.pop("fit_each_seed", False))
    for keys in (content, *(changes or {} for changes in variants.values())):
        make_known(keys.get("strategies", []))
    configs = {
        str(name): check_config({**content, **(changes or {})}, file.parent, bool(recorded))
        for name, changes in variants.items()
    }
    found = find_file("labels_file", recorded, file.parent) if recorded else None
    return Plan(configs, each, found)
