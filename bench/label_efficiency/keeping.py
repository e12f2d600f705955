"""Copies finished seeds' results beside the configs, with how they were made."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from activedpo.simulation.report import write_report
from activedpo.simulation.results import write_results
from activedpo.simulation.store import Store
from bench.label_efficiency.plan import Part, Plan

TABLES = ("results.parquet", "verdicts.parquet", "config.json")
FIGURES = ("report.html", "curves.png")
PACKAGES = ("activedpo", "torch", "transformers", "peft", "scikit-learn", "numpy")


def keep(
    plan: Plan, variant: str, seeds: list[int], root: Path, target: Path, experiment: str
) -> None:
    """Writes a variant's finished seeds as one simulation's results.

    Args:
        seeds: the finished ones, in any order.
        root: where the experiment's parts lie.
        target: gets the tables, `about.json`, and without variants the report too.
    """
    ordered = [seed for seed in plan.seeds(variant) if seed in seeds]
    parts = [plan.part(variant, seed) for seed in ordered]
    store = _merged(parts, root)
    config = plan.variants[variant].model_copy(update={"seeds": ordered})
    described = store.read_json(parts[0].folder(root) / "config.json")
    described["config"]["seeds"] = ordered
    store.write_json(store.root / "config.json", _placeless(described))
    write_results(config, store)
    target.mkdir(parents=True, exist_ok=True)
    for file in TABLES:
        shutil.copyfile(store.root / file, target / file)
    if not variant:
        write_report(config, store)
        for file in FIGURES:
            shutil.copyfile(store.root / file, target / file)
    about = _about(plan, variant, parts, root, experiment)
    Store.write_json(target / "about.json", about)


def _merged(parts: list[Part], root: Path) -> Store:
    """One store of all parts' rounds, by links."""
    store = Store(parts[0].folder(root).parent / "merged")
    shutil.rmtree(store.root, ignore_errors=True)
    for part in parts:
        for rounds in (part.folder(root) / "rounds").glob(f"*/{part.seed}"):
            link = store.root / "rounds" / rounds.parent.name / rounds.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(rounds.resolve(), target_is_directory=True)
    return store


def _about(
    plan: Plan, variant: str, parts: list[Part], root: Path, experiment: str
) -> dict[str, Any]:
    only = f" --only {variant}" if variant else ""
    clocks = [float((part.folder(root) / "wall_seconds").read_text()) for part in parts]
    about = {
        "command": f"python -m bench.label_efficiency.experiment {experiment}{only}",
        "seeds_finished": len(parts),
        "seeds_planned": len(plan.seeds(variant)),
        "wall_seconds_by_seed": [round(seconds) for seconds in clocks],
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": 1,
            "load": [round(value, 1) for value in os.getloadavg()],
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    fits = [part.folder(root) / "policy" / "fit.json" for part in parts]
    if fits[0].is_file():
        about["policy"] = Store.read_json(fits[0])
        about["fit_each_seed"] = plan.fit_each_seed
        about["policy_losses"] = [round(Store.read_json(fit)["loss"], 3) for fit in fits]
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _placeless(value: Any) -> Any:
    """Without the folders of this machine."""
    if isinstance(value, dict):
        return {key: _placeless(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_placeless(one) for one in value]
    return value.replace(os.environ["SNIPPETS"], "$SNIPPETS") if isinstance(value, str) else value
