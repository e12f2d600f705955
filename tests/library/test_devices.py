"""Two processes train as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import activedpo as ad
from tests.library.conftest import random_preferences

SCRIPT = """
import json, os, sys
import torch, torch.distributed as dist
import activedpo as ad

torch.set_num_threads(1)
folder, out, labels, settings = (json.loads(a) for a in sys.argv[1:])
dist.init_process_group("gloo")
preferences = [ad.Preference(ad.Pair(**pair), p) for pair, p in labels]
result = ad.train_dpo(ad.load(folder), preferences, out=out, **settings)
if dist.get_rank():  # what every process holds is the same
    result.policy.save(out + "-second")
print(json.dumps(result.metrics))
dist.destroy_process_group()
"""

# The last batch of an epoch has one pair: nothing for the second process.
SETTINGS: dict[str, Any] = {
    "lora": 4,
    "epochs": 2,
    "batch_size": 3,
    "learning_rate": 5e-3,
    "checkpoint_every": 2,
}


def in_two_processes(*arguments: object, port: int) -> list[dict[str, Any]]:
    given = [json.dumps(argument) for argument in arguments]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *given],
            env=os.environ | address | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = []
    for process in processes:
        said, wrong = process.communicate(timeout=280)
        assert process.returncode == 0, wrong[-2000:]
        found.append(json.loads(said.splitlines()[-1]))
    return found


def losses(metrics: dict[str, Any]) -> list[float]:
    return [step["loss"] for step in metrics["steps"]]


def test_two_processes_take_the_steps_of_one(
    model_folder: Callable[..., str], tmp_path: Path, unused_port: int
) -> None:
    folder, preferences = model_folder(), random_preferences(10)
    alone = ad.train_dpo(ad.load(folder), preferences, out=tmp_path / "alone", **SETTINGS)
    labels = [(asdict(p.pair), p.p) for p in preferences]
    first, second = in_two_processes(
        folder, str(tmp_path / "both"), labels, SETTINGS, port=unused_port
    )
    assert losses(first) == pytest.approx(losses(alone.metrics), rel=1e-5)
    assert losses(first) == losses(second)
    margins = [
        ad.score_pairs(ad.load(folder, adapter=tmp_path / name), [p.pair for p in preferences])
        for name in ("alone", "both", "both-second")
    ]
    assert margins[1].margin == pytest.approx(margins[0].margin, abs=1e-4)
    assert margins[2].margin.tolist() == margins[1].margin.tolist()
