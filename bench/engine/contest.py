"""Runs contenders in turns and reports ratios with their spread.

The machine drifts (other work, heat), so contenders take turns within each repeat and a ratio is
taken within a repeat; the table shows its median and its range.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.conditions import command

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("activedpo", "torch", "transformers", "trl", "peft")


@dataclass(slots=True)
class Contest:
    """One table row: contenders over the same work.

    Args:
        name: of the file and the row.
        unit: of the rate, e.g. "pairs/s".
        work: how many units a run does.
        ours: the contender that the others are measured against.
    """

    name: str
    unit: str
    work: float
    ours: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def run(
        self,
        contenders: dict[str, Callable[[], object]],
        repeats: int,
        warm: Iterable[Callable[[], object]] | None = None,
    ) -> Contest:
        """Times every contender `repeats` times, in turns; `warm`, or each of them, runs before."""
        for contender in contenders.values() if warm is None else warm:
            contender()
        for repeat in range(repeats):
            names = list(contenders)
            for name in names if repeat % 2 == 0 else reversed(names):
                started = time.perf_counter()
                contenders[name]()
                self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        return self

    def rate(self, name: str) -> float:
        return self.work / statistics.median(self.seconds[name])

    def ratios(self, peer: str) -> list[float]:
        """How many times faster ours was, in each repeat."""
        pairs = zip(self.seconds[peer], self.seconds[self.ours], strict=True)
        return [theirs / mine for theirs, mine in pairs]

    def as_json(self) -> dict[str, Any]:
        peers = {}
        for name in self.seconds:
            found = {"rate": self.rate(name), "seconds": self.seconds[name]}
            if name != self.ours:
                ratios = self.ratios(name)
                found["ours_is_faster_by"] = {
                    "median": statistics.median(ratios),
                    "range": [min(ratios), max(ratios)],
                }
            peers[name] = found
        return {"name": self.name, "unit": self.unit, "contenders": peers} | self.extra


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "command": command(),
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def write(name: str, contests: list[Contest], folder: Path = RESULTS) -> Path:
    """Writes `bench/results/NAME.json`."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.json"
    found = {"machine": machine(), "contests": [contest.as_json() for contest in contests]}
    file.write_text(json.dumps(found, indent=1) + "\n")
    return file


def table(found: list[dict[str, Any]]) -> str:
    """The contests as a Markdown table."""
    lines = [
        "| what | contender | rate | ours is faster by (range) |",
        "| --- | --- | ---: | ---: |",
    ]
    for contest in found:
        for name, entry in contest["contenders"].items():
            ratio = entry.get("ours_is_faster_by")
            by = "ours"
            if ratio:
                low, high = ratio["range"]
                by = f"{ratio['median']:.2f}× ({low:.2f}–{high:.2f})"
            lines.append(
                f"| {contest['name']} | {name} | {entry['rate']:.3g} {contest['unit']} | {by} |"
            )
    return "\n".join(lines)


def matmul_rate(model: torch.nn.Module, rows: int = 1_024, seconds: float = 1.0) -> float:
    """FLOP/s of the model's own matrix products, each weight in its turn, measured now.

    What the model's shapes allow on this machine and nothing else: no norm, no attention, no cache
    kept warm by one weight used over and over.
    """
    weights = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]
    inputs = {w.shape[1]: torch.randn(rows, w.shape[1], dtype=w.dtype) for w in weights}
    done, started = 0, 0.0
    with torch.inference_mode():
        for warm in (True, False):
            started = time.perf_counter()
            while True:
                for weight in weights:
                    torch.nn.functional.linear(inputs[weight.shape[1]], weight)
                done += sum(2 * rows * weight.numel() for weight in weights)
                if warm or time.perf_counter() - started > seconds:
                    break
            done = 0 if warm else done
    return done / (time.perf_counter() - started)


def peak_memory(work: Callable[..., object], *args: Any) -> float | None:
    """MiB that `work(*args)` needs at its peak, in a process of its own.

    None where the machine had not that much: the rest of the contest goes on.
    """
    try:
        return alone(work, *args)[1]
    except BrokenProcessPool:
        return None


def alone(work: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """What `work(*args)` gives in a process of its own, and the MiB it needed at its peak.

    Raises:
        BrokenProcessPool: the process died, as where memory ran out.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_and_peak, work, *args).result()


def _and_peak(work: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    return work(*args), _peak()


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss, which a child inherits: it would be the parent's peak.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
