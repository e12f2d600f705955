"""The packed trainer against trl's `DPOTrainer`: the same steps, number for number.

trl's dataset is made from texts here, by its own tokenisation and its own reference pass, wherever
that gives the same ids: an oracle that shares nothing with what it checks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

import activedpo as ad
from activedpo.loading import Policy
from activedpo.trainable import trainable_copy
from tests.library.conftest import random_pairs

MakePolicy = Callable[..., Policy]
STEPS, BATCH = 20, 4
WAYS = pytest.mark.parametrize("lora", [4, 0], ids=["lora", "full"])


def preferences(n: int = 16) -> list[ad.Preference]:
    """Finished completions: trl adds its end token to every one."""
    pairs = random_pairs(n, seed=2)
    return [ad.Preference(ad.Pair(p.prompt, p.completion_a, p.completion_b)) for p in pairs]


class Losses(DPOTrainer):
    """Keeps the unrounded loss of each step."""

    def __init__(self, *args: Any, **given: Any) -> None:
        self.seen: list[float] = []
        super().__init__(*args, **given)

    def compute_loss(self, *args: Any, **given: Any) -> Any:
        loss = super().compute_loss(*args, **given)
        self.seen.append(float(loss.detach()))
        return loss


def by_trl(
    policy: Policy, labels: list[ad.Preference], lora: int, folder: Path, **settings: Any
) -> tuple[list[float], Policy]:
    start = trainable_copy(policy, lora, seed=0)
    arguments = {
        "per_device_train_batch_size": BATCH,
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "linear",
        "train_sampling_strategy": "sequential",
        "max_grad_norm": 1.0,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,
        "beta": 0.3,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
    texts = [
        {
            "prompt": p.pair.prompt,
            "chosen": p.pair.completion_a,
            "rejected": p.pair.completion_b,
        }
        for p in labels
    ]
    trainer = Losses(
        model=start.model,
        ref_model=None if lora else trainable_copy(policy, 0, seed=0).model,
        args=DPOConfig(output_dir=str(folder), **(arguments | settings)),
        train_dataset=Dataset.from_list(texts),
        processing_class=policy.tokenizer,
    )
    trainer.train()
    return trainer.seen, start


def by_us(
    policy: Policy, labels: list[ad.Preference], lora: int, **settings: Any
) -> tuple[list[float], Policy]:
    given = {
        "batch_size": BATCH,
        "max_steps": STEPS,
        "learning_rate": 1e-2,
        "beta": 0.3,
        "shuffle": False,
    }
    result = ad.train_dpo(policy, labels, lora=lora, **(given | settings))
    return [step["loss"] for step in result.metrics["steps"]], result.policy


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    named = policy.model.named_parameters()
    return {n: p.detach() for n, p in named if ".ref." not in n}


@WAYS
@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_twenty_losses_agree_in_float32(
    make_policy: MakePolicy, arch: str, lora: int, tmp_path: Path
) -> None:
    policy, labels = make_policy(arch=arch), preferences()
    theirs, _ = by_trl(policy, labels, lora, tmp_path)
    ours, _ = by_us(policy, labels, lora)
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[-1] < 0.5


@WAYS
@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_twenty_losses_and_the_weights_agree_in_float64(
    make_policy: MakePolicy, arch: str, lora: int, tmp_path: Path
) -> None:
    policy, labels = make_policy(arch=arch, dtype="float64"), preferences()
    theirs, their_policy = by_trl(policy, labels, lora, tmp_path, learning_rate=1e-3)
    ours, our_policy = by_us(policy, labels, lora, learning_rate=1e-3)
    assert ours == pytest.approx(theirs, abs=1e-5)
    same_weights(our_policy, their_policy)


@WAYS
def test_the_weights_agree_after_plain_gradient_descent(
    policy: Policy, lora: int, tmp_path: Path
) -> None:
    labels = preferences()
    settings = {"learning_rate": 0.05}
    theirs, their_policy = by_trl(policy, labels, lora, tmp_path, optim="sgd", **settings)
    ours, our_policy = by_us(policy, labels, lora, optimizer="sgd", **settings)
    assert ours == pytest.approx(theirs, abs=1e-4)
    same_weights(our_policy, their_policy)


def same_weights(mine: Policy, theirs: Policy) -> None:
    expected = weights(theirs)
    moved = 0
    for name, weight in weights(mine).items():
        assert torch.allclose(weight, expected[name], atol=1e-5), name
        moved += weight.requires_grad is False
    assert moved
    assert len(weights(mine)) == len(expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"loss": "ipo"}, "ipo"),
        ({"loss": "hinge"}, "hinge"),
        ({"length_normalised": True}, "sigmoid_norm"),
    ],
    ids=["ipo", "hinge", "normalised"],
)
def test_other_losses_agree(
    policy: Policy, ours: dict[str, Any], theirs: str, tmp_path: Path
) -> None:
    labels = preferences()
    expected, _ = by_trl(policy, labels, 4, tmp_path, loss_type=[theirs])
    got, _ = by_us(policy, labels, 4, **ours)
    assert got == pytest.approx(expected, abs=1e-4, rel=1e-4)


def test_label_smoothing_is_what_smoothed_labels_give(policy: Policy) -> None:
    """trl ignores it for its plain loss, so the oracle is the same loss on p = 0.9."""
    labels = preferences()
    soft = [ad.Preference(p.pair, p=0.9) for p in labels]
    smoothed, _ = by_us(policy, labels, 4, label_smoothing=0.1)
    expected, _ = by_us(policy, soft, 4)
    assert smoothed == pytest.approx(expected, rel=1e-6)
    assert smoothed != pytest.approx(by_us(policy, labels, 4)[0], rel=1e-2)


def test_the_gradient_is_the_finite_difference(make_policy: MakePolicy) -> None:
    from activedpo.packed import Example, PackedStep, StepSettings
    from activedpo.packing import Row

    # GPT-2 computes in float64 throughout; Llama's norm would round to float32.
    start = trainable_copy(make_policy(arch="gpt2", dtype="float64"), 4, seed=0)
    with torch.no_grad():
        for name, weight in start.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    examples = [
        Example(0, None, Row((5, 6, 7), ((8, 9, 1), (20, 21, 22, 1))), 0.8, 2.0, -14.0, -19.0),
        Example(1, None, Row((9,), ((30, 1), (40, 41, 1))), 0.0, 1.0, -9.0, -12.0),
    ]
    step = PackedStep(start, StepSettings(beta=0.5, label_smoothing=0.05, token_budget=64))
    step._run(examples, backward=True)
    rng = np.random.default_rng(0)
    for name, parameter in list(step.parameters.items())[::5]:
        direction = torch.from_numpy(rng.normal(size=tuple(parameter.shape)))
        assert parameter.grad is not None
        slope = float((parameter.grad * direction).sum())
        values = []
        for side in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=side)
            values.append(step._run(examples, backward=False)["loss"])
            with torch.no_grad():
                parameter.add_(direction, alpha=-side)
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-8), name
