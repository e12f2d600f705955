"""The results as Markdown and figures: `python -m bench.label_efficiency.table`.

Writes results/README.md, results/differences.png and a figure of curves for each experiment with
variants. Everything is computed from the committed `verdicts.parquet` and `results.parquet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from activedpo.simulation.report import oracle_facts, summary
from activedpo.simulation.statistics import Comparison, Curves, area, compare
from bench.label_efficiency import figures
from bench.label_efficiency.reading import Results, experiments

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
.906. TL;DR against human text at 128 / 256 / 384 / 512: random .510 / .551 / .551 / .561, certainty
.524 / .562 / .585 / .600, entropy + certainty .529 / .546 / .593 / .592.
"""

SIDE = ("kl_per_token", "tokens", "repetition", "distinct_2", "margin_mean", "wrong_share")
TOGETHER = {"imdb_confirm": ("imdb_confirm_a", "imdb_confirm_b", "imdb_confirm_c")}
"""Experiments that differ in the fit of π₀ alone, and the name they go by together."""


def section(results: Results) -> str:
    """The page's part on an experiment without variants."""
    columns, rows = summary(results.config, results.curves)
    parts = [
        f"## {results.folder.name}\n",
        _facts(results) + "\n",
        as_markdown(["strategy", *map(str, results.config.labels)], _levels(results.curves)),
        as_markdown(columns, rows),
        "Means over seeds at the last round, beside the win-rate:\n",
        as_markdown(["strategy", *SIDE, "passes to choose"], _beside(results)),
    ]
    return "\n".join(parts)


def varied(name: str, variants: list[Results]) -> str:
    """The page's part on an experiment with variants: a row for each of their arms."""
    labels = _shared_labels(variants)
    columns = ["variant", "seeds", "strategy", *map(str, labels), "area", "area − random", "95 %"]
    columns += ["p (Holm)", "largest gain", *SIDE, "passes to choose"]
    rows = [row for one in variants for row in _rows_of(one, labels)]
    first = variants[0]
    wall = sum(sum(one.about["wall_seconds_by_seed"]) for one in variants) / 60
    said = _facts(first, f"all variants {wall:.0f} minutes of one core")
    figure = f"![curves of {name}]({name}.png)\n"
    parts = [f"## {name}\n", said + "\n", figure, as_markdown(columns, rows), *_compute(variants)]
    return "\n".join(parts)


def _compute(variants: list[Results]) -> list[str]:
    """Random with the same compute against what spent it on choosing, on the same seeds."""
    by_name = {one.folder.name: one for one in variants}
    if not {"equal", "same_compute"} <= set(by_name):
        return []
    dear = {arm: c for arm, c in by_name["equal"].curves.items() if arm != "random"}
    arms = {**dear, "random": by_name["same_compute"].curves["random"]}
    compared = compare(arms, by_name["equal"].config.labels)
    told = [[arm, *_against(one)[:3]] for arm, one in compared.items()]
    columns = ["strategy", "area − random with the same compute", "95 %", "p (Holm)"]
    return [as_markdown(columns, told)]


def _shared_labels(variants: list[Results]) -> list[int]:
    """Counts of labels that every variant was measured at."""
    found = set.intersection(*(set(one.config.labels) for one in variants))
    return sorted(found)


def _rows_of(results: Results, labels: list[int]) -> list[list[str]]:
    rows, compared = [], results.compared
    for arm, seeds in results.curves.items():
        values = np.stack([one.mean(1) for one in seeds.values()]).mean(0)
        at = dict(zip(results.config.labels, values, strict=True))
        row = [results.folder.name, str(len(seeds)), arm, *(f"{at[n]:.3f}" for n in labels)]
        row += [f"{float(area(results.config.labels, values)):.3f}", *_against(compared.get(arm))]
        row += [results.last(arm, key) for key in SIDE]
        rows.append([*row, _passes(results, arm)])
    return rows


def _against(one: Comparison | None) -> list[str]:
    if one is None:
        return [""] * 4
    labels, gain, low, high = one.best
    return [
        f"{one.against:+.3f}",
        f"{one.low:+.3f} … {one.high:+.3f}",
        f"{one.adjusted:.3f}",
        f"{gain:+.3f} at {labels} ({low:+.3f} … {high:+.3f})",
    ]


def together(name: str, parts: list[Results]) -> str:
    """Experiments that differ in π₀ alone as one: a seed of each fit is a seed."""
    arms: dict[str, dict[int, np.ndarray]] = {}
    for number, one in enumerate(parts):
        for arm, seeds in one.curves.items():
            mine = arms.setdefault(arm, {})
            mine.update({1_000 * number + seed: verdicts for seed, verdicts in seeds.items()})
    columns, rows = summary(parts[0].config, arms)
    each = [
        [arm, *(f"{one.compared[arm].against:+.3f}" for one in parts)]
        for arm in arms
        if arm != "random"
    ]
    told = "The same protocol on as many fits of π₀, taken together, and `area − random` on each:\n"
    titles = ["strategy", *(one.folder.name for one in parts)]
    head = ["strategy", *map(str, parts[0].config.labels)]
    tables = [
        as_markdown(head, _levels(arms)),
        as_markdown(columns, rows),
        as_markdown(titles, each),
    ]
    return "\n".join([f"## {name}\n", told, *tables])


def _facts(results: Results, wall: str = "") -> str:
    about, config = results.about, results.config
    minutes = sum(about["wall_seconds_by_seed"]) / 60
    weights = f"LoRA rank {config.lora}" if config.lora else "full weights"
    fits = ", π₀ fitted anew for each" if about.get("fit_each_seed") else ""
    command = about["command"].split(" --only")[0]
    return (
        f"{about['seeds_finished']} of {about['seeds_planned']} planned seeds{fits}; {weights}, "
        f"learning rate {config.learning_rate:g}, {config.epochs} epochs, β {config.beta:g}, pool "
        f"{config.pool_factor:g} × the step, {results.described['held_out']} evaluation prompts. "
        f"{oracle_facts(results.described)}. `{command}`: "
        f"{wall or f'{minutes:.0f} minutes of wall time'} on "
        f"{about['machine']['processor']}, {about['machine']['cores']} cores, "
        f"{about['machine']['threads'] or 'all'} thread(s), load {about['machine']['load'][0]}; "
        f"torch {about['versions']['torch']}, transformers {about['versions']['transformers']}."
    )


def _levels(verdicts: Mapping[str, Curves]) -> list[list[str]]:
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


def _beside(results: Results) -> list[list[str]]:
    return [
        [arm, *(results.last(arm, key) for key in SIDE), _passes(results, arm)]
        for arm in results.config.strategies
    ]


def _passes(results: Results, arm: str) -> str:
    """Forward passes to choose, a seed."""
    every = [row["forward_passes"] for row in results.rows if row["strategy"] == arm]
    return f"{sum(every) / len(results.config.seeds):,.0f}"


def as_markdown(columns: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _not_run(done: set[str]) -> str:
    names = sorted(f.stem for f in (HERE.parent / "configs").glob("*.yaml"))
    waiting = [f"`{name}`" for name in names if name not in done]
    return f"\nConfigs that were not run yet: {', '.join(waiting)}.\n" if waiting else ""


def main() -> None:
    """Writes the page and its figures."""
    found = experiments(HERE)
    head = (
        "# Label efficiency: results\n\nWritten by `python -m bench.label_efficiency.table` from "
        "the files in these folders.\n\n"
    )
    parts = []
    if figures.differences(found, HERE / "differences.png"):
        parts.append(f"![{figures.DIFFERENCES}](differences.png)\n\n{figures.DIFFERENCES}\n")
    for name, variants in found.items():
        if variants[0].folder.name == name:
            parts.append(section(variants[0]))
        else:
            figures.curves(variants, HERE / f"{name}.png")
            parts.append(varied(name, variants))
    for name, names in TOGETHER.items():
        if all(one in found for one in names):
            parts.append(together(name, [found[one][0] for one in names]))
    page = head + "\n".join(parts) + "\n" + PAPER + _not_run(set(found))
    (HERE / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
