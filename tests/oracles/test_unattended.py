"""``activedpo run``: embedded parts, no web, no people; policies, labels and a report are left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

import activedpo as ad
from activedpo.simulation.config import InvalidConfig, check_config
from activedpo.testing import tiny_model
from activedpo.unattended import check

ROOT = Path(__file__).parents[2]


def config(folder: Path, labels: str, **more: str) -> Path:
    prompts = [json.dumps({"prompt": f"say something about {i}"}) for i in range(14)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts))
    model = tiny_model(folder / "tiny")
    keys = {
        "policy": model,
        "prompts": "prompts.jsonl",
        "strategies": "[random]",
        "labels": labels,
        "pool_factor": "6",
        "oracle": "{kind: length}",
        "max_new_tokens": "40",  # short ones are often equally long, and the oracle abstains
        "lora": "4",
        "epochs": "1",
        "eval_prompts": "2",
        **more,
    }
    (folder / "run.yaml").write_text("\n".join(f"{k}: {v}" for k, v in keys.items()))
    return folder / "run.yaml"


def run(file: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ACTIVEDPO_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "run", str(file), "--out", str(out), *more],
        env=clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_loop_runs_without_web_or_people_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(config(tmp_path, "[2]"), out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pq.read_table(out / "results.parquet").num_rows == 1
    done = run(config(tmp_path, "[2, 4]"), out)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert [(r["strategy"], r["seed"], r["labels"]) for r in rows] == [
        ("random", 0, 2),
        ("random", 0, 4),
    ]
    folder = out / "random-seed0"
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert len([one for one in labels if one["choice"] != "skip"]) == 4
    policy = ad.load(str(tmp_path / "tiny"), adapter=str(folder / "policy"))
    assert policy.has_adapter
    assert "<svg" in (out / "report.html").read_text()
    home = str(out / "home")
    assert not [p for p in psutil.process_iter(["cmdline"]) if home in str(p.info["cmdline"])]


def test_what_only_a_simulation_knows_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}')
    keys = {"policy": "hub/name", "prompts": "prompts.jsonl", "strategies": ["random"]}
    given = check_config({**keys, "labels": [2], "noise": 0.2}, tmp_path)
    with pytest.raises(InvalidConfig, match=r"^noise"):
        check(given)


def test_an_unknown_key_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    done = run(config(tmp_path, "[2]", colour="blue"), tmp_path / "out")
    assert done.returncode == 2
    assert "colour" in done.stderr
    assert not (tmp_path / "out").exists()
