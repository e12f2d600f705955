"""The results' figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.label_efficiency.reading import Results

DIFFERENCES = (
    "Area under the learning curve against random's, with 95 % by bootstrap over seeds and "
    "prompts. Left of the line random is better."
)

SHOWN = ("certainty", "entropy_certainty", "agreed")


def differences(found: Mapping[str, list[Results]], file: Path) -> bool:
    """Draws `area − random` of every experiment and variant; False where there is none."""
    rows = []
    for name, variants in found.items():
        for one in variants:
            compared = {arm: c for arm, c in one.compared.items() if arm in SHOWN}
            label = name if one.folder.name == name else f"{name}: {one.folder.name}"
            if compared:
                rows.append((f"{label} ({len(one.config.seeds)})", compared))
    if not rows:
        return False
    figure = Figure(figsize=(8, 1 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, compared) in enumerate(rows):
        for number, arm in enumerate(SHOWN):
            if arm not in compared:
                continue
            one, height = compared[arm], -place - 0.22 * (number - 1)
            color = f"C{number + 1}"
            axes.plot([one.low, one.high], [height, height], color=color, linewidth=1.5)
            axes.plot([one.against], [height], "o", color=color, markersize=4)
    for number, arm in enumerate(SHOWN):
        if any(arm in compared for _, compared in rows):
            axes.plot([], [], "o-", color=f"C{number + 1}", label=arm, markersize=4)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks([-place for place in range(len(rows))], [label for label, _ in rows])
    axes.set_ylim(-len(rows) + 0.5, 0.5)
    axes.set_xlabel("area − random (seeds in brackets)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(file, dpi=120)
    return True


def curves(variants: list[Results], file: Path) -> None:
    """Draws win-rate against labels, a field for each variant."""
    across = min(3, len(variants))
    down = math.ceil(len(variants) / across)
    figure = Figure(figsize=(3.4 * across + 1.6, 2.6 * down), layout="constrained")
    fields = figure.subplots(down, across, sharey=True, squeeze=False)
    arms = list(dict.fromkeys(arm for one in variants for arm in one.curves))
    for one, axes in zip(variants, fields.flat, strict=False):
        for arm, seeds in one.curves.items():
            values = np.stack([verdicts.mean(1) for verdicts in seeds.values()])
            color = f"C{arms.index(arm)}"
            axes.plot(one.config.labels, values.mean(0), "o-", color=color, markersize=3)
        axes.set_title(one.folder.name, fontsize=9)
        axes.set_xticks(list(one.config.labels))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for empty in list(fields.flat)[len(variants) :]:
        empty.set_visible(False)
    for number, arm in enumerate(arms):
        fields[0, 0].plot([], [], "o-", color=f"C{number}", label=arm, markersize=3)
    figure.supxlabel("labels", fontsize=9)
    figure.supylabel("win-rate against π₀", fontsize=9)
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=110)
