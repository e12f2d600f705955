"""Strategies x seeds, round by round, over processes; goes on where a kill left it.

A round is the unit of work: it reads what earlier rounds stored and stores itself whole, so a run
that was killed and one that was not end with the same figures.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from activedpo.simulation import judges
from activedpo.simulation.config import Fit, InvalidConfig, SimulationConfig
from activedpo.simulation.store import FIRST, Store

Report = Callable[[int, int, str], None]
"""Called with (rounds done, rounds in all, what has just been finished)."""

Task = tuple[str, int, int]
"""(arm, seed, round)."""

_HOW_OFTEN = 1.0


def simulate(
    config: SimulationConfig,
    out: str | Path,
    labels_file: str | None = None,
    jobs: int = 1,
    report: Report | None = None,
) -> Path:
    """Runs what is not there yet, then writes results.parquet and report.html.

    Args:
        config: see `read_config`.
        out: folder; one that holds a part of the same simulation is completed.
        labels_file: recorded labels instead of an oracle; the metric is then held-out accuracy.
        jobs: processes.
        report: called after each round.

    Returns:
        The path of results.parquet.

    Raises:
        InvalidConfig: before anything is written.
    """
    if jobs < 1:
        raise InvalidConfig(f"jobs: must be at least 1, not {jobs}")
    store = Store(out)
    check(config, store, labels_file)
    prepare(config, store, labels_file, report)
    _play_all(config, store, labels_file, jobs, report)
    from activedpo.simulation.report import write_report
    from activedpo.simulation.results import write_results

    results = write_results(config, store)
    write_report(config, store)
    return results


def check(config: SimulationConfig, store: Store, labels_file: str | None) -> None:
    """Everything that can be known to be wrong without a model."""
    from activedpo.simulation.texts import read_labels, read_prompts, read_texts

    if labels_file is None:
        judges.check(config)
        read_prompts(str(config.prompts))
    else:
        read_labels(labels_file)
    if isinstance(config.policy, Fit):
        read_texts("policy.fit", config.policy.fit)
    file = store.root / "config.json"
    if file.is_file() and store.read_json(file)["fingerprint"] != fingerprint(config, labels_file):
        raise InvalidConfig(
            f"out: {store.root} holds another simulation: name another folder, or remove it"
        )
    if store.root.exists() and not store.root.is_dir():
        raise InvalidConfig(f"out: {store.root} is no folder")


def fingerprint(config: SimulationConfig, labels_file: str | None) -> str:
    """Of all that decides a round's outcome: strategies and seeds may be added later."""
    decides = config.model_dump_json(exclude={"strategies", "seeds", "device"})
    files = [config.prompts, labels_file]
    files += [config.policy.fit] if isinstance(config.policy, Fit) else []
    digest = hashlib.sha256(decides.encode())
    for file in files:
        digest.update(Path(file).read_bytes() if file else b"-")
    return digest.hexdigest()


def prepare(
    config: SimulationConfig, store: Store, labels_file: str | None, report: Report | None
) -> None:
    """π_0 and its answers, which all rounds read."""
    from activedpo.simulation.bench import Bench

    bench = Bench(config, store, labels_file)
    if isinstance(config.policy, Fit):
        _fit(config.policy, store, report)
    parts = bench.recorded if labels_file else bench.prompts
    if not labels_file:
        bench.base_answers()
    spec = {} if labels_file else {"oracle": bench.oracle, "judge": bench.judge}
    described = {
        "fingerprint": fingerprint(config, labels_file),
        "config": config.model_dump(mode="json"),
        "metric": bench.metric,
        "train": len(parts.train),
        "held_out": len(parts.held),
        "oracles": {key: judges.facts(made) for key, made in spec.items()},
    }
    store.write_json(store.root / "config.json", described)


def _fit(settings: Fit, store: Store, report: Report | None) -> None:
    from activedpo.simulation.fit import fit_policy
    from activedpo.simulation.texts import read_texts

    folder = store.root / "policy"
    if folder.is_dir():
        return
    texts = read_texts("policy.fit", settings.fit)

    def told(done: int, total: int) -> None:
        if report and (done == total or done % 20 == 0):
            report(done, total, "fitting the policy")

    with store.whole(folder) as scratch:
        facts = fit_policy(settings, texts, scratch, told)
        store.write_json(scratch / "fit.json", facts)


def _play_all(
    config: SimulationConfig,
    store: Store,
    labels_file: str | None,
    jobs: int,
    report: Report | None,
) -> None:
    tasks = [
        (arm, seed, number)
        for seed in config.seeds
        for arm in config.strategies
        for number in range(1, len(config.labels) + 1)
    ]
    total = len({_key(task) for task in tasks})
    todo = {_key(task): task for task in tasks if not store.is_done(*task)}
    done = total - len(todo)
    if report:
        report(done, total, "starting" if not done else "going on")
    for task in _played(todo, config, store, labels_file, jobs):
        done += 1
        if report:
            row = store.row(*task)
            report(done, total, f"{_told(task, row)}")


def _key(task: Task) -> Task:
    """The first round of a seed is one task for all arms."""
    arm, seed, number = task
    return (FIRST if number == 1 else arm, seed, number)


def _told(task: Task, row: dict[str, Any]) -> str:
    arm, seed, number = task
    name = "first batch" if number == 1 else arm
    return f"{name}, seed {seed}, {row['labels']} labels: {row['metric']} {row['value']:.3f}"


def _played(
    todo: dict[Task, Task],
    config: SimulationConfig,
    store: Store,
    labels_file: str | None,
    jobs: int,
) -> Iterator[Task]:
    """Plays tasks as their earlier rounds are done; yields each when it is stored."""
    if jobs == 1:
        from activedpo.simulation.bench import Bench
        from activedpo.simulation.rounds import play

        bench = Bench(config, store, labels_file)
        for task in todo.values():
            play(bench, *task)
            yield task
        return
    yield from _in_processes(todo, config, store, labels_file, jobs)


def _in_processes(
    todo: dict[Task, Task],
    config: SimulationConfig,
    store: Store,
    labels_file: str | None,
    jobs: int,
) -> Iterator[Task]:
    waiting, running = dict(todo), dict[Future[None], Task]()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, context, _start_process, (config, str(store.root), labels_file, jobs, os.getpid())
    ) as pool:
        try:
            while waiting or running:
                for key, task in list(waiting.items()):
                    arm, seed, number = task
                    if number == 1 or store.is_done(arm, seed, number - 1):
                        running[pool.submit(_play, task)] = waiting.pop(key)
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    yield running.pop(future)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_bench: Any = None


def _start_process(
    config: SimulationConfig, root: str, labels_file: str | None, jobs: int, parent: int
) -> None:
    """In a new process: what all its rounds share, and an end with its parent's."""
    global _bench
    from activedpo.simulation.bench import Bench, use_threads

    use_threads(jobs)
    _bench = Bench(config, Store(root), labels_file)
    end_with(parent)


def end_with(parent: int) -> None:
    """Ends this process when its parent has died, however it died."""
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_HOW_OFTEN)
    os._exit(1)


def _play(task: Task) -> None:
    from activedpo.simulation.rounds import play

    play(_bench, *task)
