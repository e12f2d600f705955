"""Runs the engine's benchmarks and prints their table.

    python -m bench                       all of it (about an hour on 2 quiet cores)
    python -m bench scoring --repeats 5   or another of NAMES below
    python -m bench --small               that it runs: the tests' tiny model, few pairs

Figures go to bench/results/NAME.json with machine, versions and command.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from transformers.utils import logging

from bench.engine import ablation, agreement, generation, scaling, scoring, training
from bench.engine.contest import RESULTS, Contest, table, write

NAMES = ("scoring", "training", "generation", "entropy", "scaling", "agreement", "ablation")


def main() -> None:
    """Entry point of `python -m bench`."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="default: all")
    parser.add_argument("--model", help="folder or hub name; default: SmolLM2-135M's shape")
    parser.add_argument("--small", action="store_true", help="tiny model, few pairs")
    parser.add_argument("--repeats", type=int, default=2, help="turns that each contender takes")
    parser.add_argument("--shape", action="append", help="for scoring and training")
    parser.add_argument("--prompts-n", type=int, help="for entropy: how many prompts")
    parser.add_argument("--prompts", type=Path, help='for agreement: JSON Lines with "prompt"')
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    contests: list[Contest] = []
    for name in given.names or NAMES:
        print(f"… {name}", flush=True)
        # What the tiny model takes is no result.
        folder = Path(tempfile.mkdtemp()) if given.small else RESULTS
        done: list[Contest] = []
        for contest in _runs(given)[name]():
            done.append(contest)
            print(f"  {contest.name}: {write(name, done, folder)}", flush=True)  # kept as they come
        contests += done
    print(table(json.loads(json.dumps([contest.as_json() for contest in contests]))))


def _runs(given: argparse.Namespace) -> dict[str, Callable[[], Iterable[Contest]]]:
    small, model, repeats, shapes = given.small, given.model, given.repeats, given.shape
    count = 8 if small else 24
    return {
        "scoring": lambda: scoring.run(model, small, repeats, count, shapes),
        "training": lambda: training.run(model, small, repeats, 8, shapes),
        "generation": lambda: generation.run(model, small, repeats, [8] if small else [64, 256]),
        "entropy": lambda: generation.entropy(
            model, small, min(repeats, 1), given.prompts_n or (4 if small else 256)
        ),
        "scaling": lambda: scaling.run(
            model,
            small,
            [16, 64] if small else [64, 256, 1_024, 4_096],
            [16, 32] if small else [64, 512, 2_048],
        ),
        "ablation": lambda: ablation.run(
            model, small, repeats, shapes or ["96 + 2 × 48", "ragged 96 + 2 × 48"]
        ),
        "agreement": lambda: agreement.run(model, small, 16 if small else 128, given.prompts),
    }
