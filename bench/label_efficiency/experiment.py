"""Runs an experiment seed by seed and keeps what is finished.

    python -m bench.label_efficiency.experiment imdb_small --snippets FILE [--work DIR]

The config is `configs/NAME.yaml`; results go to `results/NAME`. The snippets are no part of the
repository: name them by `--snippets` or `ACTIVEDPO_SNIPPETS`. A seed counts when all its arms are
done, so a run that ends early (`--minutes`) compares equals; it goes on where it ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from activedpo.simulation.config import SimulationConfig, read_config
from activedpo.simulation.run import simulate
from bench.label_efficiency.prepare import prepare

HERE = Path(__file__).parent
KEPT = ("results.parquet", "verdicts.parquet", "report.html", "curves.png", "config.json")
PACKAGES = ("activedpo", "torch", "transformers", "peft", "scikit-learn", "numpy")


class OutOfTime(Exception):
    """The minutes are over; what is stored stays."""


def main() -> None:
    """The command line."""
    arguments = _parsed()
    os.environ["SNIPPETS"] = str(arguments.work / "snippets")
    prepare(arguments.snippets, arguments.work / "snippets")
    config = read_config(HERE / "configs" / f"{arguments.name}.yaml")
    out = arguments.work / arguments.name
    _share_policy(config, out, arguments.work)
    finished = _run(config, out, arguments)
    print(f"{finished} of {len(config.seeds)} seeds are finished")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(f.stem for f in (HERE / "configs").glob("*.yaml")))
    default = os.environ.get("ACTIVEDPO_SNIPPETS")
    parser.add_argument("--snippets", type=Path, default=default, required=default is None)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "activedpo-label-efficiency"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    return parser.parse_args()


def _run(config: SimulationConfig, out: Path, arguments: argparse.Namespace) -> int:
    """Seeds one after the other; gives back how many are finished."""
    end = time.monotonic() + 60 * arguments.minutes

    def told(done: int, total: int, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {done}/{total} {what}", file=sys.stderr, flush=True)
        if time.monotonic() > end:
            raise OutOfTime

    for count in range(1, len(config.seeds) + 1):
        started = time.monotonic()
        some = config.model_copy(update={"seeds": config.seeds[:count]})
        try:
            simulate(some, out, jobs=arguments.jobs, report=told)
        except OutOfTime:
            return count - 1
        _keep(arguments.name, out, count, len(config.seeds), time.monotonic() - started)
        _share_policy(config, out, arguments.work)
    return len(config.seeds)


def _keep(name: str, out: Path, seeds: int, planned: int, seconds: float) -> None:
    """Copies the finished seeds' results beside this file, with how they were made."""
    target = HERE / "results" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copyfile(out / file, target / file)
    described = json.loads((target / "config.json").read_text(encoding="utf-8"))
    _write(target / "config.json", _placeless(described))
    page = target / "report.html"
    text = page.read_text(encoding="utf-8").replace(os.environ["SNIPPETS"], "$SNIPPETS")
    page.write_text(text, encoding="utf-8")
    about = _about(target / "about.json", name, seeds, planned, seconds)
    fit = out / "policy" / "fit.json"
    if fit.is_file():
        about["policy"] = json.loads(fit.read_text(encoding="utf-8"))
    _write(target / "about.json", about)


def _about(file: Path, name: str, seeds: int, planned: int, seconds: float) -> dict[str, Any]:
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() and seeds > 1 else {}
    return {
        "command": f"python -m bench.label_efficiency.experiment {name}",
        "seeds_finished": seeds,
        "seeds_planned": planned,
        "wall_seconds_by_seed": [*before.get("wall_seconds_by_seed", []), round(seconds)],
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "load": [round(value, 1) for value in os.getloadavg()],
            "system": platform.system(),
        },
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


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


def _share_policy(config: SimulationConfig, out: Path, work: Path) -> None:
    """Experiments with the same π_0 fit it once."""
    described = json.dumps(config.model_dump(mode="json")["policy"], sort_keys=True)
    kept = work / "policies" / hashlib.sha256(described.encode()).hexdigest()[:16]
    here = out / "policy"
    for source, target in ((kept, here), (here, kept)):
        if source.is_dir() and not target.exists():
            scratch = target.with_name(f".{target.name}")
            shutil.copytree(source, scratch, dirs_exist_ok=True)
            scratch.rename(target)


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
