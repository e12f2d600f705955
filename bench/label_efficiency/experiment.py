"""Runs an experiment and keeps what is finished.

    python -m bench.label_efficiency.experiment imdb_small --snippets FILE [--work DIR] [--jobs N]

The config is `configs/NAME.yaml` (see `plan`); results go to `results/NAME`, of an experiment with
variants to a folder each. The snippets are no part of the repository: name them by `--snippets` or
`ACTIVEDPO_SNIPPETS`. A seed counts when all arms of a variant are done, so a run that ends early
(`--minutes`) compares equals; it goes on where it ended.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from activedpo.simulation.run import end_with, prepare, simulate
from activedpo.simulation.store import Store
from bench.label_efficiency.arms import make_known
from bench.label_efficiency.keeping import keep
from bench.label_efficiency.plan import Part, Plan, read_plan
from bench.label_efficiency.prepare import prepare as prepare_snippets

HERE = Path(__file__).parent


class OutOfTime(Exception):
    """The minutes are over; what is stored stays."""


def main() -> None:
    """The command line."""
    arguments = _parsed()
    os.environ["SNIPPETS"] = str(arguments.work / "snippets")
    prepare_snippets(arguments.snippets, arguments.work / "snippets")
    plan = read_plan(HERE / "configs" / f"{arguments.name}.yaml")
    unknown = set(arguments.only) - set(plan.variants)
    if unknown:
        sys.exit(f"--only: {arguments.name} has no variant {', '.join(sorted(unknown))}")
    for variant, seeds in _run(plan, arguments).items():
        named = f"{variant}: " if variant else ""
        print(f"{named}{len(seeds)} of {len(plan.seeds(variant))} seeds are finished")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(f.stem for f in (HERE / "configs").glob("*.yaml")))
    default = os.environ.get("ACTIVEDPO_SNIPPETS")
    parser.add_argument("--snippets", type=Path, default=default, required=default is None)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "activedpo-label-efficiency"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="*", default=[], metavar="VARIANT")
    return parser.parse_args()


def _run(plan: Plan, arguments: argparse.Namespace) -> dict[str, list[int]]:
    """Seeds finished of each variant; what is finished is kept at once."""
    parts, root = plan.parts(arguments.only), arguments.work / arguments.name
    # Of another clock than a process's own: children compare with it.
    end = time.time() + 60 * arguments.minutes
    finished: dict[str, list[int]] = {part.variant: [] for part in parts}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, context, _start_process, (os.getpid(),)) as pool:
        try:
            first = {part.policy_key: part for part in reversed(parts)}
            for fitted in [pool.submit(_fit, p, root, arguments.work) for p in first.values()]:
                fitted.result()
            running = {pool.submit(_play, part, root, arguments.work, end): part for part in parts}
            for done in as_completed(running):
                if _ended_early(done):
                    continue
                part = running[done]
                finished[part.variant].append(part.seed)
                target = HERE / "results" / arguments.name / part.variant
                keep(plan, part.variant, finished[part.variant], root, target, arguments.name)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return finished


def _ended_early(done: Future[None]) -> bool:
    try:
        done.result()
    except OutOfTime:
        return True
    return False


def _start_process(parent: int) -> None:
    import torch

    torch.set_num_threads(1)  # cores are shared by whole parts: nothing waits for another
    end_with(parent)


def _fit(part: Part, root: Path, work: Path) -> None:
    """π₀ of a part, where it is not there yet, kept for all parts that start from it."""
    _share_policy(part, root, work)
    prepare(part.config, Store(part.folder(root)), part.labels_file, None)
    _share_policy(part, root, work)


def _play(part: Part, root: Path, work: Path, end: float) -> None:
    folder, started = part.folder(root), time.monotonic()
    make_known(part.config.strategies)
    _share_policy(part, root, work)

    def told(done: int, total: int, what: str) -> None:
        named = f"{part.variant} " if part.variant else ""
        line = f"{time.strftime('%H:%M:%S')} {named}seed {part.seed} {done}/{total} {what}"
        print(line, file=sys.stderr, flush=True)
        if time.time() > end:
            raise OutOfTime

    try:
        simulate(part.config, folder, part.labels_file, report=told)
    finally:
        clock = folder / "wall_seconds"
        before = float(clock.read_text()) if clock.is_file() else 0.0
        clock.write_text(f"{before + time.monotonic() - started:.0f}\n")


def _share_policy(part: Part, root: Path, work: Path) -> None:
    """Parts with the same π₀ fit it once."""
    kept, here = work / "policies" / part.policy_key, part.folder(root) / "policy"
    for source, target in ((kept, here), (here, kept)):
        if source.is_dir() and not target.exists():
            scratch = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copytree(source, scratch, dirs_exist_ok=True)
            scratch.rename(target)


if __name__ == "__main__":
    main()
