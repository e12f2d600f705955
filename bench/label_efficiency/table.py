"""The results as Markdown: `python -m bench.label_efficiency.table` writes results/README.md.

Everything is computed from the committed `verdicts.parquet` and `results.parquet`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from activedpo.simulation.config import SimulationConfig, check_config
from activedpo.simulation.report import oracle_facts, summary
from activedpo.simulation.statistics import Curves

HERE = Path(__file__).parent / "results"

PAPER = """\
For comparison, the paper's win-rate against π₀ (SEM) on IMDB, GPT-2 large, full weights
(arXiv 2402.08114):

| strategy | 128 | 256 | 512 | 768 |
| --- | --- | --- | --- | --- |
| random | .670 (.012) | .761 (.009) | .846 (.005) | .882 (.004) |
| certainty | .676 (.003) | .816 (.005) | .875 (.007) | .901 (.004) |
| entropy + certainty | .681 (.004) | .812 (.007) | .894 (.006) | .915 (.005) |

The same with LoRA, 9 seeds, at 256 / 512 / 768: certainty .838 / .877 / .904, random .862 / .895 /
.906.
"""

SIDE = ("kl_per_token", "tokens", "repetition", "distinct_2", "margin_mean", "wrong_share")


def curves(folder: Path, labels: list[int]) -> dict[str, Curves]:
    """Verdicts of every arm from the committed table: seed -> (rounds, items)."""
    found: dict[str, dict[int, dict[int, list[float]]]] = {}
    for row in pq.read_table(folder / "verdicts.parquet").to_pylist():
        arm = found.setdefault(row["strategy"], {}).setdefault(row["seed"], {})
        arm.setdefault(row["labels"], []).append(row["won"])
    return {
        arm: {seed: np.array([by[n] for n in labels]) for seed, by in seeds.items()}
        for arm, seeds in found.items()
    }


def section(folder: Path) -> str:
    """One experiment's part of the page."""
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    config = _config(described)
    verdicts = curves(folder, config.labels)
    columns, rows = summary(config, verdicts)
    parts = [
        f"## {folder.name}\n",
        _facts(config, described, about) + "\n",
        _table(["strategy", *map(str, config.labels)], _levels(verdicts)),
        _table(columns, rows),
        "Means over seeds at the last round, beside the win-rate:\n",
        _table(["strategy", *SIDE, "passes to choose"], _beside(folder, config)),
    ]
    return "\n".join(parts)


def _config(described: dict[str, Any]) -> SimulationConfig:
    # The files of the run are not needed to read its results.
    plain = {k: v for k, v in described["config"].items() if v is not None}
    plain |= {"policy": "any", "oracle": "length", "judge": "length"}
    return check_config(plain, recorded=True)


def _facts(config: SimulationConfig, described: dict[str, Any], about: dict[str, Any]) -> str:
    minutes = sum(about["wall_seconds_by_seed"]) / 60
    weights = f"LoRA rank {config.lora}" if config.lora else "full weights"
    return (
        f"{about['seeds_finished']} of {about['seeds_planned']} planned seeds; {weights}, "
        f"learning rate {config.learning_rate:g}, {config.epochs} epochs, β {config.beta:g}, pool "
        f"{config.pool_factor:g} × the step, {described['held_out']} evaluation prompts. "
        f"{oracle_facts(described)}. `{about['command']}`: {minutes:.0f} minutes of wall time on "
        f"{about['machine']['processor']}, {about['machine']['cores']} cores, "
        f"{about['machine']['threads'] or 'all'} thread(s), load {about['machine']['load'][0]}; "
        f"torch {about['versions']['torch']}, transformers {about['versions']['transformers']}."
    )


def _levels(verdicts: dict[str, Curves]) -> list[list[str]]:
    rows = []
    for arm, seeds in verdicts.items():
        values = np.stack([one.mean(1) for one in seeds.values()])
        spread = values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
        cells = [
            f"{mean:.3f}" + ("" if np.isnan(s) else f" ± {s / np.sqrt(len(values)):.3f}")
            for mean, s in zip(values.mean(0), spread, strict=True)
        ]
        rows.append([arm, *cells])
    return rows


def _beside(folder: Path, config: SimulationConfig) -> list[list[str]]:
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    told = []
    for arm in config.strategies:
        last = [r for r in rows if r["strategy"] == arm and r["labels"] == config.labels[-1]]
        means = [_mean([r[k] for r in last if r.get(k) is not None]) for k in SIDE]
        every = [r["forward_passes"] for r in rows if r["strategy"] == arm]
        passes = sum(every) / len(last)
        told.append([arm, *means, f"{passes:,.0f}"])
    return told


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "–"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _not_run(folders: list[Path]) -> str:
    done = {folder.name for folder in folders}
    names = sorted(f.stem for f in (HERE.parent / "configs").glob("*.yaml"))
    waiting = [f"`{name}`" for name in names if name not in done]
    return f"\nConfigs that were not run yet: {', '.join(waiting)}.\n" if waiting else ""


def main() -> None:
    """Writes the page."""
    folders = sorted(folder for folder in HERE.iterdir() if (folder / "about.json").is_file())
    head = (
        "# Label efficiency: results\n\nWritten by `python -m bench.label_efficiency.table` from "
        "the files in these folders.\n\n"
    )
    page = (
        head + "\n".join(section(folder) for folder in folders) + "\n" + PAPER + _not_run(folders)
    )
    (HERE / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
