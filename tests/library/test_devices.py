"""Two processes train as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import activedpo as ad
from activedpo.loading import Policy
from tests.library.conftest import random_preferences

SCRIPT = """
import json, sys
import torch, torch.distributed as dist
import activedpo as ad
from activedpo.packed import PackedStep
from activedpo.packed_trainer import PackedTrainer

torch.set_num_threads(1)
policy, labels = ad.load(sys.argv[1]), json.loads(sys.argv[2])
preferences = [ad.Preference(ad.Pair(**pair), p) for pair, p in labels]
dist.init_process_group("gloo")
told, policies, held = {}, {}, []

class Cut(Exception):
    pass

class Trainer(PackedTrainer):
    def _checkpoint(self, done):
        super()._checkpoint(done)
        own = [getattr(p, "to_local", lambda p=p: p)() for p in self.step.parameters.values()]
        held[:] = [sum(tensor.numel() for tensor in own)]
        if done == stop_after:
            raise Cut

def losses(step, examples, logp):
    calls.append(1)
    found, rewards = real_losses(step, examples, logp)
    spoiled = len(calls) == spoil_at and dist.get_rank() == 1  # in one process alone
    return found * float("nan") if spoiled else found, rewards

real_losses, PackedStep._losses = PackedStep._losses, losses
import activedpo.packed_trainer
activedpo.packed_trainer.PackedTrainer = Trainer

for name, out, settings in json.loads(sys.argv[3]):
    calls, shown = [], []
    stop_after, spoil_at = settings.pop("stop_after", None), settings.pop("spoil_at", None)
    try:
        result = ad.train_dpo(
            policy, preferences, out=out, progress=lambda n, *_: shown.append(n), **settings
        )
        told[name] = result.metrics | {"shown": shown, "held": held[0]}
        policies[out] = result.policy
    except Cut:
        pass
rank = dist.get_rank()
dist.destroy_process_group()
for out, trained in policies.items():
    if rank:  # what every process holds is the same
        trained.save(out + "-second")
print(json.dumps(told))
"""

# The last batch of an epoch has one pair: nothing for the second process.
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 3,
    "learning_rate": 5e-3,
    "checkpoint_every": 2,
}
WAYS: dict[str, dict[str, Any]] = {
    "ddp of an adapter": {"lora": 4},
    "ddp of full weights": {"lora": 0, "learning_rate": 1e-3},
    "fsdp2 of full weights": {"lora": 0, "learning_rate": 1e-3, "strategy": "fsdp2"},
}
EITHER_WAY = pytest.mark.parametrize("way", WAYS)


@dataclass
class Trained:
    """What two processes made: metrics of each by the name of the training, and the folders."""

    base: str
    folder: Path
    first: dict[str, Any]
    second: dict[str, Any]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return weights(self.folder / name)


def trainings(way: str, folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, out, settings): one in one go; cut, and resumed; one that meets what is no number."""
    settings = SETTINGS | WAYS[way]
    dropout = {"lora_dropout": 0.2} if settings["lora"] else {}
    kept = {"checkpoint_dir": str(folder / f"{way}-kept")}
    made = {
        "both": settings,
        "whole": settings | dropout,
        "cut": settings | dropout | kept | {"stop_after": 4},
        "rest": settings | dropout | kept | {"resume_from": kept["checkpoint_dir"]},
        "spoiled": settings | {"schedule": "constant", "spoil_at": 3},
    }
    return [(f"{way}: {k}", str(folder / f"{way}: {k}"), given) for k, given in made.items()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def losses(metrics: dict[str, Any]) -> list[float]:
    return [step["loss"] for step in metrics["steps"]]


@pytest.fixture(scope="module")
def trained(
    model_folder: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
    unused_port: Callable[[], int],
) -> Trained:
    base, folder = model_folder(), tmp_path_factory.mktemp("trained")
    labels = [(asdict(p.pair), p.p) for p in random_preferences(10)]
    asked = [training for way in WAYS for training in trainings(way, folder)]
    # what two began, one goes on with
    begun = SETTINGS | WAYS["fsdp2 of full weights"] | {"checkpoint_dir": str(folder / "begun")}
    asked.append(("begun", str(folder / "none"), begun | {"stop_after": 4}))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(unused_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, base, json.dumps(labels), json.dumps(asked)],
            env=os.environ | address | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = []
    for process in processes:
        said, wrong = process.communicate(timeout=280)
        assert process.returncode == 0, wrong[-3000:]
        told.append(json.loads(said.splitlines()[-1]))
    return Trained(base, folder, *told)


@EITHER_WAY
def test_two_processes_take_the_steps_of_one(way: str, trained: Trained, tmp_path: Path) -> None:
    settings, name = SETTINGS | WAYS[way], f"{way}: both"
    first, second = trained.first[name], trained.second[name]
    alone = ad.train_dpo(ad.load(trained.base), random_preferences(10), out=tmp_path, **settings)
    assert losses(first) == pytest.approx(losses(alone.metrics), rel=1e-5)
    assert losses(first) == losses(second)
    assert (first["shown"], second["shown"]) == ([1, 2, 3, 4, 5, 6, 7, 8], [])
    one, both, again = weights(tmp_path), trained.weights(name), trained.weights(f"{name}-second")
    assert one.keys() == both.keys() == again.keys()
    for key, weight in one.items():
        # Adam divides a gradient by its own size: where that is rounding alone, it shows
        torch.testing.assert_close(both[key], weight, rtol=1e-3, atol=1e-5)
        assert torch.equal(both[key], again[key])


@EITHER_WAY
def test_a_resume_in_two_processes_goes_on_bit_for_bit(way: str, trained: Trained) -> None:
    assert trained.first[f"{way}: rest"]["shown"] == [5, 6, 7, 8]
    whole, rest = trained.weights(f"{way}: whole"), trained.weights(f"{way}: rest")
    assert whole.keys() == rest.keys()
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_what_two_processes_began_one_ends(trained: Trained) -> None:
    settings = SETTINGS | WAYS["ddp of full weights"]
    rest = settings | {"resume_from": trained.folder / "begun"}
    given = ad.load(trained.base), random_preferences(10)
    ended = ad.train_dpo(*given, **rest, checkpoint_dir=trained.folder / "ended")
    alone = ad.train_dpo(*given, **settings, checkpoint_dir=trained.folder / "alone")
    assert losses(ended.metrics) == pytest.approx(losses(alone.metrics), rel=1e-5)
    for mine, other in zip(
        ended.policy.model.parameters(), alone.policy.model.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@EITHER_WAY
def test_a_loss_that_is_no_number_in_one_process_stops_both_at_the_last_good_weights(
    way: str, trained: Trained, tmp_path: Path
) -> None:
    name = f"{way}: spoiled"
    first, second = trained.first[name], trained.second[name]
    assert "step 3: the loss of pair" in first["stopped"]
    assert "weights of step 1 kept" in first["stopped"]
    assert first["stopped"] == second["stopped"]
    settings = SETTINGS | WAYS[way] | {"schedule": "constant", "max_steps": 1}
    ad.train_dpo(ad.load(trained.base), random_preferences(10), out=tmp_path, **settings)
    both, again = trained.weights(name), trained.weights(f"{name}-second")
    for key, weight in weights(tmp_path).items():
        torch.testing.assert_close(both[key], weight, rtol=1e-3, atol=1e-5)
        assert torch.equal(both[key], again[key])


def test_shares_are_halves_of_the_weights(trained: Trained) -> None:
    count = sum(weight.numel() for weight in ad.load(trained.base).model.parameters())
    held = [told["fsdp2 of full weights: both"]["held"] for told in (trained.first, trained.second)]
    assert sum(held) == count
    assert max(held) < 0.6 * count
    assert trained.first["ddp of full weights: both"]["held"] == count


def test_shares_are_of_full_weights_alone(policy: Policy) -> None:
    with pytest.raises(ValueError, match="full weights"):
        ad.train_dpo(policy, random_preferences(2), lora=4, strategy="fsdp2")
    with pytest.raises(ValueError, match="ddp, fsdp2"):
        ad.train_dpo(policy, random_preferences(2), strategy="deepspeed")
