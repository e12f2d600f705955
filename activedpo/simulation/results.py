"""The rounds' figures as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from activedpo.simulation.config import SimulationConfig
from activedpo.simulation.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_COLUMNS = ("strategy", "seed", "labels", "metric", "value", "low", "high", "n")


def rows_of(config: SimulationConfig, store: Store) -> list[dict[str, Any]]:
    """One row a (strategy, seed, labels), in the config's order."""
    return [
        {"strategy": arm, "seed": seed, **store.row(arm, seed, number)}
        for arm in config.strategies
        for seed in config.seeds
        for number in range(1, len(config.labels) + 1)
    ]


def write_results(config: SimulationConfig, store: Store) -> Path:
    """Writes results.parquet (figures) and verdicts.parquet (one row an evaluation prompt)."""
    import pyarrow as pa

    rows = rows_of(config, store)
    verdicts = [
        {"strategy": arm, "seed": seed, "labels": labels, "item": item, "won": won}
        for arm in config.strategies
        for seed in config.seeds
        for number, labels in enumerate(config.labels, 1)
        for item, won in enumerate(store.verdicts(arm, seed, number))
    ]
    _write(pa.Table.from_pylist(verdicts), store.root / "verdicts.parquet")
    names = list(FIRST_COLUMNS) + sorted({k for row in rows for k in row} - set(FIRST_COLUMNS))
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    return _write(table, store.root / "results.parquet")


def _write(table: pa.Table, file: Path) -> Path:
    import pyarrow.parquet as pq

    scratch = file.with_name(f".{file.name}")
    pq.write_table(table, scratch)
    scratch.replace(file)
    return file
