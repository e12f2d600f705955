"""``python -m bench.shards``: how a pool's generation and scoring scales over worker processes.

A stack whose own worker takes no model work, and beside it one worker process on one core, two on
a core each, and with ``--threads`` one on both. Each generates and scores the same pool, cut into
shards, of a model of SmolLM2-135M's shape. Timed in the database, from the first shard's taking to
the last one's storing; models are loaded and warm. Needs two quiet cores; writes
``bench/results/shards.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.stack.redis import free_port
from bench.conditions import conditions
from bench.engine.contest import RESULTS, machine
from bench.engine.material import small_folder, smol_folder
from tests.driver import Visitor, visitor_of, wait_until
from tests.faults.harness import ask
from tests.stack.conftest import Stack

RUNS = """
    SELECT extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8,
           attempt, lease_owner, (output -> 'clock' ->> 'seconds')::float8
    FROM runs WHERE round_id = %s AND kind = 'generate' ORDER BY started_at
"""
STORED = "SELECT count(*) FROM pairs WHERE round_id = %s"


@dataclass(frozen=True)
class Way:
    """Workers by the cores that each may use."""

    name: str
    cores: tuple[str, ...]


WAYS = (
    Way("1 process, 1 core", ("0",)),
    Way("2 processes, a core each", ("0", "1")),
    Way("1 process, 2 cores", ("0,1",)),
)


@contextlib.contextmanager
def workers(stack: Stack, way: Way) -> Iterator[None]:
    """Worker processes beside the stack, for as long as the context lasts."""
    command = [sys.executable, "-m", "app.cli", "worker", "--takes", "generate"]
    started = [
        subprocess.Popen(
            ["taskset", "-c", cores, *command],
            env=stack.env | {"OMP_NUM_THREADS": str(len(cores.split(",")))},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for cores in way.cores
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def pool(visitor: Visitor, stack: Stack, model: str, size: int, tokens: int) -> dict[str, Any]:
    """One pool generated and scored by whoever is there; its times."""
    settings = {
        "name": "shards",
        "base_model": model,
        "batch_size": 1,
        "pool_size": size,
        "acquisition": "certainty",
        "generation": {"max_new_tokens": tokens},
    }
    project = visitor.post("/projects", settings)["id"]
    rows = [{"prompt": f"Say something about the number {n}."} for n in range(size)]
    visitor.post(f"/projects/{project}/prompts", {"prompts": rows})
    round = visitor.open_round(project)

    def over() -> bool:
        state = visitor.get(f"/rounds/{round}")
        assert state["state"] != "failed", state["error"]
        return state["state"] in ("labelling", "done")  # done: a random model may say nothing

    wait_until(over, "the pool", 600)
    runs = ask(stack, RUNS, round)
    ((stored,),) = ask(stack, STORED, round)
    assert stored == size, f"{stored} pairs of {size}"
    assert {attempt for _, _, attempt, *_ in runs} == {1}
    visitor.ask("POST", f"/rounds/{round}/cancel")
    by: dict[str, float] = {}
    for _, _, _, owner, seconds in runs:
        by[owner] = by.get(owner, 0.0) + seconds
    found = {
        "seconds": round_(max(end for _, end, *_ in runs) - min(begin for begin, *_ in runs)),
        "shards": len(runs),
        "shards_by_worker": sorted(sum(owner == o for *_, o, _ in runs) for owner in by),
        "in_the_child": sorted(round_(seconds) for seconds in by.values()),
    }
    print(f"  {found}", flush=True)
    return found


def round_(seconds: float) -> float:
    return round(seconds, 2)


def taken(visitor: Visitor, stack: Stack, way: Way, options: argparse.Namespace) -> list[Any]:
    """The figures of one way: the first pool, which loads models, does not count."""
    print(way.name, flush=True)
    with workers(stack, way):
        there = len(way.cores)
        wait_until(lambda: _generating(visitor) >= there, f"{there} workers", 120)
        model = options.folder
        while len(pool(visitor, stack, model, 4 * options.shard, 4)["shards_by_worker"]) < there:
            continue  # until each has loaded the model
        found = [
            pool(visitor, stack, model, options.pool, options.tokens)
            for _ in range(options.repeats)
        ]
    wait_until(lambda: _generating(visitor) == 0, "their goodbye", 60)
    return found


def _generating(visitor: Visitor) -> int:
    queues = visitor.get("/system")["queues"]
    return sum(queue["workers"] for queue in queues if queue["name"] == "generate")


def main() -> None:
    """Run it and write the figures down."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--pool", type=int, default=64)
    wanted.add_argument("--shard", type=int, default=8, help="prompts in a shard")
    wanted.add_argument("--tokens", type=int, default=16, help="of a completion")
    wanted.add_argument("--repeats", type=int, default=2)
    wanted.add_argument("--threads", action="store_true", help="one process on both cores, too")
    wanted.add_argument("--small", action="store_true", help="tiny model: that it runs")
    options = wanted.parse_args()
    options.folder = small_folder() if options.small else smol_folder()
    with tempfile.TemporaryDirectory() as home:
        more = {
            "ACTIVEDPO_TAKES": "cpu",
            "ACTIVEDPO_SHARD_PROMPTS": str(options.shard),
            "ACTIVEDPO_DTYPE": "float32",
            "ACTIVEDPO_HEARTBEAT_SECONDS": "2",
        }
        stack = Stack(Path(home), free_port(), **more)
        found: dict[str, list[Any]] = {}
        try:
            visitor = visitor_of(stack)
            for way in WAYS if options.threads else WAYS[:2]:
                found[way.name] = taken(visitor, stack, way, options)
                file = written(found, options)  # kept as they come
        finally:
            stack.end()
    print(file.read_text())


def written(found: dict[str, list[Any]], options: argparse.Namespace) -> Path:
    """The figures so far."""
    medians = {n: statistics.median(p["seconds"] for p in pools) for n, pools in found.items()}
    alone = medians[WAYS[0].name]
    speedups = {name: round(alone / seconds, 3) for name, seconds in medians.items()}
    report = conditions() | {
        "on": machine()["processor"],
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "pool": options.pool,
        "shard_prompts": options.shard,
        "max_new_tokens": options.tokens,
        "pairs_a_second": {n: round(options.pool / s, 2) for n, s in medians.items()},
        "speedup": speedups,
        "pools": found,
    }
    if WAYS[1].name in speedups:
        report["scaling_efficiency"] = round(speedups[WAYS[1].name] / 2, 3)
    file = RESULTS / "shards.json" if not options.small else Path(tempfile.mkdtemp(), "shards.json")
    file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return file


if __name__ == "__main__":
    main()
