"""report.html: one file, no scripts, nothing from elsewhere; and its curves as curves.png."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from activedpo.simulation.config import SimulationConfig
from activedpo.simulation.results import rows_of
from activedpo.simulation.statistics import Comparison, Curves, area, compare
from activedpo.simulation.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root{--ink:#1c1e21;--soft:#61666d;--line:#dfe2e6;--paper:#fff}
@media (prefers-color-scheme:dark){
:root{--ink:#e8eaed;--soft:#9aa0a6;--line:#3c4043;--paper:#17181a}
figure{background:#fff;border-radius:4px}}
body{font:16px/1.6 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:64rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0;display:block;
overflow-x:auto}
th,td{padding:4px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{font-weight:600}
p,figcaption{color:var(--soft);max-width:75ch}figure{margin:1rem 0}svg{max-width:100%;height:auto}
pre{overflow-x:auto;border:1px solid var(--line);padding:8px;border-radius:4px}
"""

_FIGURES = {
    "value": "value",
    "kl_per_token": "KL to π₀ a token",
    "tokens": "tokens an answer",
    "repetition": "repetition",
    "distinct_2": "distinct 2-grams",
    "margin_mean": "mean |margin| chosen",
    "wrong_share": "ranked wrongly",
    "words_chosen": "words of chosen",
    "duplicates": "equal texts in batch",
    "undecided": "undecided",
    "grad_norm": "gradient norm",
    "forward_passes": "passes to choose",
    "seconds": "seconds",
}


def curves_of(config: SimulationConfig, store: Store) -> dict[str, Curves]:
    """Verdicts of every arm: seed -> (rounds, items)."""
    rounds = range(1, len(config.labels) + 1)
    return {
        arm: {
            seed: np.array(
                [
                    store.read_json(store.round_folder(arm, seed, k) / "verdicts.json")
                    for k in rounds
                ]
            )
            for seed in config.seeds
        }
        for arm in config.strategies
    }


def write_report(config: SimulationConfig, store: Store) -> None:
    """Draws report.html and curves.png from what the rounds stored."""
    described = store.read_json(store.root / "config.json")
    rows = rows_of(config, store)
    curves = curves_of(config, store)
    figure = draw(curves, config.labels, described["metric"])
    scratch = store.root / ".curves.png"
    figure.savefig(scratch, format="png", dpi=150)
    scratch.replace(store.root / "curves.png")
    page = _page(config, described, rows, curves, _svg(figure))
    target = store.root / "report.html"
    scratch = target.with_name(".report.html")
    scratch.write_text(page, encoding="utf-8")
    scratch.replace(target)


def draw(curves: Mapping[str, Curves], labels: Sequence[int], metric: str) -> Figure:
    """Mean value against labels, an arm a line with its 95 % interval over seeds and items."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for arm, seeds in curves.items():
        values = np.stack([verdicts.mean(1) for verdicts in seeds.values()])
        mean = values.mean(0)
        low, high = _interval(seeds)
        (line,) = axes.plot(labels, mean, marker="o", markersize=4, label=arm)
        axes.fill_between(labels, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    if metric == "win_rate":
        axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("labels")
    axes.set_ylabel("win-rate against π₀" if metric == "win_rate" else "held-out accuracy")
    axes.set_xticks(list(labels))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _interval(seeds: Curves, draws: int = 1_000) -> tuple[np.ndarray, np.ndarray]:
    """95 % of the mean by hierarchical bootstrap: seeds, then items; (rounds,) each."""
    stacked = np.stack(list(seeds.values()))
    rng = np.random.default_rng(0)
    means = np.empty((draws, stacked.shape[1]))
    for draw_number in range(draws):
        some = stacked[rng.integers(len(stacked), size=len(stacked))].mean(0)
        means[draw_number] = some[:, rng.integers(some.shape[1], size=some.shape[1])].mean(1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high


def _svg(figure: Figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "activedpo"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _page(
    config: SimulationConfig,
    described: Mapping[str, Any],
    rows: list[dict[str, Any]],
    curves: Mapping[str, Curves],
    svg: str,
) -> str:
    seeds, metric = len(config.seeds), described["metric"]
    facts = (
        f"{len(config.strategies)} strategies, {seeds} seed{'s' * (seeds > 1)}, up to "
        f"{config.labels[-1]} labels; {described['held_out']} held-out "
        f"{'prompts' if metric == 'win_rate' else 'pairs'}. Seeds are paired: the same π₀, "
        "prompts, first batch and oracle noise for every strategy."
    )
    parts = [
        f"<h1>Simulated labelling: {html.escape(metric.replace('_', '-'))}</h1><p>{facts}</p>",
        f"<p>{html.escape(oracle_facts(described))}</p>" if described.get("oracles") else "",
        f"<figure>{svg}<figcaption>Mean over seeds; bands: 95 % by bootstrap over seeds and items."
        "</figcaption></figure>",
        "<h2>Area, and labels saved</h2>",
        _table(*summary(config, curves)),
        "<p>Area: mean height of the curve. Difference to random paired over seeds and items, with "
        "its 95 % interval; p corrected by Holm. With few seeds the interval is too narrow: it "
        "cannot know of seeds that were not run.</p>"
        if "random" in curves
        else "<p>No arm is random: nothing to compare with.</p>",
        "<h2>Every round</h2>",
        _table(*_means(config, rows)),
        "<h2>Config</h2><pre>" + html.escape(_as_yaml(described["config"])) + "</pre>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>ActiveDPO simulation</title><style>{_STYLE}</style></head><body>"
        + "".join(parts)
        + "</body></html>\n"
    )


def oracle_facts(described: Mapping[str, Any]) -> str:
    """One sentence on who labelled and who judged."""
    config = described["config"]
    told = []
    for key in ("oracle", "judge"):
        spec = config.get(key) or config["oracle"]
        accuracy = described["oracles"].get(key, {}).get("accuracy")
        sure = "" if accuracy is None else f" (accuracy {accuracy:.1%} by cross-validation)"
        told.append(f"{key}: {spec['kind']}{sure}")
    return "; ".join(told) + f"; flipped labels: {config['noise']['flips']:.0%}"


def summary(
    config: SimulationConfig, curves: Mapping[str, Curves]
) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of areas and comparisons with random."""
    columns = ["strategy", "area", f"at {config.labels[-1]}"]
    against: dict[str, Comparison] = {}
    if "random" in curves:
        columns += ["area − random", "95 %", "p (Holm)", "labels to random's end", "largest gain"]
        against = compare(curves, config.labels)
    rows = []
    for arm, seeds in curves.items():
        mean = np.mean([v.mean(1) for v in seeds.values()], axis=0)
        row = [arm, f"{float(area(config.labels, mean)):.3f}", f"{mean[-1]:.3f}"]
        rows.append(row + _compared(against.get(arm), len(seeds), columns))
    return columns, rows


def _compared(one: Comparison | None, seeds: int, columns: list[str]) -> list[str]:
    if one is None:
        return [""] * (len(columns) - 3)
    labels, gain, low, high = one.best
    return [
        f"{one.against:+.3f}",
        f"{one.low:+.3f} … {one.high:+.3f}",
        f"{one.adjusted:.3f}" if seeds > 1 else "one seed: no test",
        "never" if math.isnan(one.half) else f"{one.half:.0f}",
        f"{gain:+.3f} at {labels} ({low:+.3f} … {high:+.3f})",
    ]


def _means(
    config: SimulationConfig, rows: list[dict[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    shown = [key for key in _FIGURES if any(row.get(key) is not None for row in rows)]
    told = []
    for arm in config.strategies:
        for labels in config.labels:
            same = [r for r in rows if r["strategy"] == arm and r["labels"] == labels]
            told.append([arm, str(labels), *(_mean(same, key) for key in shown)])
    return ["strategy", "labels", *(_FIGURES[key] for key in shown)], told


def _mean(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "–"
    mean = float(np.mean(values))
    return f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.3f}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _as_yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
