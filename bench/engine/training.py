"""A DPO epoch, against trl at its defaults and at its best flags."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trl import DPOConfig

import activedpo as ad
from activedpo.encoding import encode_pairs
from activedpo.loading import Policy
from activedpo.packed import Example
from activedpo.packing import Row
from activedpo.scoring import pair_rows, score_rows
from activedpo.trainable import trainable_copy
from activedpo.trl_trainer import IdsDPOTrainer, make_trainer
from activedpo.types import Preference
from bench.engine.contest import Contest, peak_memory
from bench.engine.material import SHAPES, pairs, policy, some

BATCH = 8
SETTINGS: dict[str, dict[str, Any]] = {
    # trl's own: recomputed activations, a reference pass a step, bfloat16 autocast.
    "trl, defaults": {"gradient_checkpointing": True},
    # What helps it most: no recomputation, and here also our stored reference log-probs.
    "trl, best flags": {"gradient_checkpointing": False, "precompute_ref_log_probs": True},
}


def run(
    model: str | None,
    small: bool,
    repeats: int,
    count: int,
    shapes: Sequence[str] | None = None,
    memory: bool = True,
) -> Iterator[Contest]:
    """Pairs/s of one epoch, LoRA rank 16 and full weights, in float32 and under bfloat16."""
    return (
        _one((model, small), precision, lora, shape, repeats, some(count, shape), memory)
        for precision in ("float32", "bfloat16")
        for lora in (16, 0)
        for shape in shapes or list(SHAPES)[:3]
    )


def _one(
    which: tuple[str | None, bool],
    precision: str,
    lora: int,
    shape: str,
    repeats: int,
    count: int,
    memory: bool,
) -> Contest:
    kind = f"LoRA {lora}" if lora else "full weights"
    contest = Contest(f"training {shape}, {kind}, {precision}", "pairs/s", count, "packed step")
    start = policy(*which, "float32")
    names = ("packed step", *SETTINGS)
    # First, while this process holds little itself. Autocast keeps weights in float32: under
    # bfloat16 the peak is the same to a few per cent.
    if memory and precision == "float32":
        few = min(count, BATCH)
        alone = peak_memory(in_a_process, which, None, precision, lora, shape, few)
        contest.extra["peak_mib"] = {"model and libraries alone": alone} | {
            name: peak_memory(in_a_process, which, name, precision, lora, shape, few)
            for name in names
        }
    contest.run(
        {name: contender(start, name, precision, lora, shape, count) for name in names},
        repeats,
        warm=[contender(start, name, precision, lora, shape, 2) for name in names],
    )
    return contest


def in_a_process(
    which: tuple[str | None, bool],
    name: str | None,
    precision: str,
    lora: int,
    shape: str,
    count: int,
) -> None:
    """One epoch, alone, to see how much memory it takes; without a name, only what it starts on."""
    start = policy(*which, "float32")
    run = contender(start, name or "packed step", precision, lora, shape, count)
    if name:
        run()


def contender(
    start: Policy, name: str, precision: str, lora: int, shape: str, count: int
) -> Callable[[], object]:
    """An epoch by that trainer, reference log-probs of the packed step and trl's best given."""
    chosen = pairs(start, count, shape)
    rows = pair_rows(encode_pairs(start, chosen))
    stored = score_rows(start, rows).logp
    if name == "packed step":
        return lambda: ad.train_dpo(
            start,
            [Preference(pair) for pair in chosen],
            lora=lora,
            epochs=1,
            batch_size=BATCH,
            ref_logps=stored,  # type: ignore[arg-type]
            precision=None if precision == "float32" else precision,
        )
    return lambda: _trl(start, rows, stored, name, precision, lora)


def _trl(
    start: Policy, rows: Sequence[Row], stored: Any, name: str, precision: str, lora: int
) -> None:
    copied = trainable_copy(start, lora, seed=0)
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        bf16=precision == "bfloat16",
        use_cpu=start.device.type == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **SETTINGS[name],
    )
    examples = [
        Example(i, None, row, 1.0, 1.0, float(logp[0]), float(logp[1]))
        for i, (row, logp) in enumerate(zip(rows, stored, strict=True))
    ]
    more = {} if lora else {"ref_model": start.model}
    trainer: IdsDPOTrainer = make_trainer(copied, examples, arguments, [], **more)
    trainer.train()
