"""`activedpo simulate` from config to report, on a tiny model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from activedpo.simulation.bench import Bench
from activedpo.simulation.config import InvalidConfig, read_config
from activedpo.simulation.meter import Meter
from activedpo.simulation.pools import GeneratedPool
from activedpo.simulation.run import simulate
from activedpo.simulation.store import Store
from activedpo.testing import tiny_model
from tests.simulation.conftest import write

Make = Callable[..., Path]
TIMES = ("seconds",)


def run(config: Path, out: Path, labels: Path | None = None, jobs: int = 1) -> list[dict[str, Any]]:
    recorded = labels is not None
    given = str(labels) if recorded else None
    return rows(simulate(read_config(config, recorded), out, given, jobs))


def rows(file: Path) -> list[dict[str, Any]]:
    """Figures without those of the clock."""
    return [
        {key: value for key, value in row.items() if not key.startswith(TIMES)}
        for row in pq.read_table(file).to_pylist()
    ]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_one_row_a_strategy_seed_and_number_of_labels(config: Make, out: Path) -> None:
    found = run(config(seeds=[0, 5]), out)
    assert [(r["strategy"], r["seed"], r["labels"]) for r in found] == [
        (arm, seed, labels)
        for arm in ("random", "certainty")
        for seed in (0, 5)
        for labels in (3, 6)
    ]
    assert {r["metric"] for r in found} == {"win_rate"}
    for row in found:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["labelled"] == row["labels"]
        assert row["n"] == 6
    verdicts = pq.read_table(out / "verdicts.parquet").to_pylist()
    assert len(verdicts) == len(found) * 6
    first = [v["won"] for v in verdicts[:6]]
    assert sum(first) / 6 == pytest.approx(found[0]["value"])


def test_seeds_are_paired(config: Make, out: Path) -> None:
    """All arms of a seed start with the same batch, which is bought and trained on once."""
    found = run(config(), out)
    first = [{k: v for k, v in r.items() if k != "strategy"} for r in found if r["labels"] == 3]
    assert first[0] == first[1]
    store = Store(out)
    assert store.labels("random", 0, 1) == store.labels("certainty", 0, 1)
    assert store.labels("random", 0, 2) != store.labels("certainty", 0, 2)
    assert store.labels("random", 0, 2)[:3] == store.labels("random", 0, 1)


def test_the_same_config_gives_the_same_figures(config: Make, tmp_path: Path) -> None:
    file = config(noise=0.2)
    assert run(file, tmp_path / "one") == run(file, tmp_path / "two")


def test_certainty_chooses_the_largest_margins_of_its_pool(config: Make, out: Path) -> None:
    found = {(r["strategy"], r["labels"]): r for r in run(config(pool_factor=5), out)}
    certain = found["certainty", 6]
    assert certain["margin_mean"] > certain["pool_margin"]
    assert found["random", 6]["forward_passes"] < certain["forward_passes"]
    assert found["random", 3]["margin_mean"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": 0, "learning_rate": 1e-3},
        {"reset": "continue"},
        {"reset": "continue", "lora": 0, "learning_rate": 1e-3},
        {"cold_start": "diverse", "strategies": ["fisher", "ensemble", "gradient"]},
        {"strategies": ["entropy"], "entropy_samples": 2},
        {"audit_fraction": 0.4, "prune": [0.0, 0.9], "near_duplicates": 0.95},
        {"noise": {"flips": 0.1, "temperature": 1.0}, "judge": "length"},
    ],
    ids=lambda x: "-".join(x),
)
def test_factors(changes: dict[str, Any], config: Make, out: Path) -> None:
    found = run(config(**changes), out)
    assert [r["labelled"] for r in found] == [3, 6] * (len(found) // 2)
    assert all(0 <= r["value"] <= 1 for r in found)


def test_a_policy_fitted_on_the_spot_and_prompts_cut_from_texts(
    config: Make, files: Path, out: Path
) -> None:
    policy = {
        "fit": "texts.txt",
        "width": 16,
        "heads": 2,
        "layers": 1,
        "steps": 5,
        "vocabulary": 270,
    }
    found = run(config(policy=policy, prompts="texts.txt", prompt_tokens=[2, 4], lora=0), out)
    assert len(found) == 4
    assert (out / "policy" / "model.safetensors").is_file()


def test_an_oracle_that_cannot_decide_buys_nothing_and_says_so(config: Make, out: Path) -> None:
    """A random model writes no words that a sentiment lexicon knows."""
    found = run(config(oracle={"kind": "regex", "pattern": "never said"}, labels=[3]), out)
    assert [(r["labelled"], r["undecided"], r["value"]) for r in found] == [(0, 9, 0.5)] * 2


def test_recorded_labels(config: Make, files: Path, out: Path) -> None:
    """Held-out accuracy; no pair is bought twice, none of them is held out."""
    found = run(config(prompts=None, epochs=8), out, files / "recorded.jsonl")
    assert {r["metric"] for r in found} == {"accuracy"}
    assert found[-1]["value"] > 0.5
    ids = [label.pair.id for label in Store(out).labels("certainty", 0, 2)]
    assert len(set(ids)) == 6


def test_dialogues_to_a_chat_model_and_pairs_too_long_for_it(
    config: Make, tmp_path: Path, out: Path
) -> None:
    """A text becomes a user turn, an hh dialogue its turns; what does not fit is left out."""
    chat = tiny_model(tmp_path / "chat", chat=True, context=128)
    said = [f"\n\nHuman: question {i}\n\nAssistant:" for i in range(12)]
    rows = [{"chosen": f"{s} yes", "rejected": f"{s} no"} for s in said]
    rows.append({"prompt": "long", "chosen": "x" * 200, "rejected": "no"})
    labels = write(tmp_path / "l.jsonl", rows)
    found = run(config(policy=chat, prompts=None, labels=[9], eval_prompts=3), out, labels)
    assert found[0]["labelled"] == 9
    assert found[0]["n"] == 3
    assert Store(out).labels("random", 0, 1)[0].pair.prompt[0]["role"] == "user"
    again = run(config(policy=chat, labels=[2]), tmp_path / "generated")
    assert again[0]["labelled"] == 2


def test_a_model_that_cannot_be_loaded_is_the_policys_fault(
    config: Make, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidConfig, match=r"policy: .*config\.json"):
        run(config(policy=str(tmp_path / "empty")), out)
    with pytest.raises(InvalidConfig, match="device: "):
        run(config(device="cuda:77"), out)
    assert not out.exists()


def test_recorded_labels_run_out(config: Make, files: Path, out: Path) -> None:
    found = run(config(labels=[10, 40], prompts=None), out, files / "recorded.jsonl")
    assert [r["labelled"] for r in found] == [10, 18] * 2


def test_a_sure_policy_labels_for_itself_and_that_is_no_label(config: Make, out: Path) -> None:
    found = run(config(gate=0.500001, strategies=["random"]), out)
    assert [r["labelled"] for r in found] == [3, 6]
    assert found[0]["pseudo"] is None  # before the first training nothing is sure
    assert found[1]["pseudo"] > 0
    assert 0 <= found[1]["pseudo_wrong_share"] <= 1
    assert len(Store(out).labels("random", 0, 2)) == 6


def test_the_report_needs_nothing_from_elsewhere(config: Make, out: Path) -> None:
    run(config(), out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "certainty" in page
    for remote in ("src=", "<script", "<link", "@import", "url(http"):
        assert remote not in page
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_another_simulation_is_never_mixed_into_a_folder(config: Make, out: Path) -> None:
    run(config(labels=[3]), out)
    with pytest.raises(InvalidConfig, match="another simulation"):
        run(config(labels=[4]), out)


def test_strategies_and_seeds_can_be_added(config: Make, out: Path) -> None:
    before = run(config(labels=[3], strategies=["random"]), out)
    after = run(config(labels=[3], strategies=["random", "closest_call"], seeds=2), out)
    assert after[0] == before[0]
    assert len(after) == 4


def test_a_killed_run_goes_on_and_ends_with_the_same_figures(
    config: Make, out: Path, tmp_path: Path
) -> None:
    file = config(labels=[3, 6, 9], strategies=["random", "certainty", "closest_call"])
    whole = run(file, tmp_path / "whole")
    command = [sys.executable, "-m", "app.cli", "simulate", str(file), "--out", str(out)]
    process = subprocess.Popen([*command, "--jobs", "2"], start_new_session=True)
    deadline = time.monotonic() + 240
    while len(list(out.glob("rounds/*/*/*/row.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = _descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(out.glob("rounds/*/*/*/row.json")))
    assert done < 7
    for child in children:
        while _alive(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    told: list[int] = []
    results = simulate(read_config(file), out, report=lambda n, total, what: told.append(n))
    assert told[0] >= done
    assert rows(results) == whole


def _descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_share_of_a_pool_repeats_other_pairs_of_it(config: Callable[..., Path]) -> None:
    """Half of eight places have another's pair; a repeated pair is written once, labelled alike."""
    made = read_config(config(duplicates=0.5, pool_factor=4, labels=[2]))
    bench = Bench(made, Store(made.policy), None)
    pool = GeneratedPool(bench, bench.base, 0, 1, Meter())
    pairs = pool.pairs(range(8))
    assert len(pool.written) == len({id(pair) for pair in pairs}) == 4
    assert [pair.prompt for pair in pairs] == pool.prompts
    alike = {(id(pair), pool.label(place)) for place, pair in enumerate(pairs)}
    assert len(alike) == 4
