"""The same round by trl's `DPOTrainer`: the oracle of correctness, and a second trainer.

trl is given token ids, reference log-probs and settings that are ours, because of what it does by
itself (1.16): it tokenises prompt and completion together and adds an end token to completions
that were cut, cuts at `max_length` in silence, takes the last policy as reference in a second
round, and computes in bfloat16 by default.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import DPOConfig, DPOTrainer

from activedpo.errors import Diverged, Interrupted, InvalidPreference
from activedpo.loading import Policy
from activedpo.packed import Example
from activedpo.training import StepProgress, TrainSettings

_LOSSES = {"sigmoid": "sigmoid", "ipo": "ipo", "hinge": "hinge"}
_MICRO_BATCH = 8


def refuse_soft(examples: Sequence[Example], settings: TrainSettings) -> None:
    """Raises InvalidPreference for what trl's DPOTrainer cannot do."""
    for example in examples:
        if example.p not in (0.0, 1.0):
            raise InvalidPreference(
                f"trainer='trl' knows no soft labels: pair {example.name} has p = {example.p}; "
                "use trainer='packed'"
            )
        if example.weight != 1.0:
            raise InvalidPreference(
                f"trainer='trl' knows no weights: pair {example.name} has weight "
                f"{example.weight}; use trainer='packed'"
            )
    if settings.step.label_smoothing:
        raise InvalidPreference(
            "trainer='trl' ignores label_smoothing for its plain loss; use trainer='packed'"
        )
    if settings.holdout:
        raise InvalidPreference("trainer='trl' stops at no holdout; use trainer='packed'")


def train_with_trl(
    policy: Policy,
    examples: Sequence[Example],
    settings: TrainSettings,
    progress: StepProgress | None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains a policy's trainable weights in place; returns the metrics of `TrainResult`."""
    started = time.perf_counter()
    log = _Log(progress, len(examples))
    with tempfile.TemporaryDirectory() as scratch:
        folder = settings.checkpoint_dir or Path(scratch)
        halt = _Halt(stop, saves=settings.checkpoint_every is not None)
        trainer = make_trainer(policy, examples, config(policy, settings, folder), [log, halt])
        trainer.train(resume_from_checkpoint=_checkpoint(settings))
    _clean(policy)
    if halt.done:
        raise Interrupted(halt.done, trainer.state.max_steps)
    last = log.entries[-1]
    return {
        "steps": log.entries,
        "loss": last["loss"],
        "accuracy": last["accuracy"],
        "margin": last["margin"],
        "seconds": time.perf_counter() - started,
        "stopped": None,
    }


class IdsDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """trl's trainer on token ids and reference log-probs that are there already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def make_trainer(
    policy: Policy,
    examples: Sequence[Example],
    arguments: DPOConfig,
    callbacks: list[TrainerCallback],
    **more: Any,
) -> IdsDPOTrainer:
    """trl's trainer around a policy and examples."""
    trainer = IdsDPOTrainer(
        model=policy.model,
        args=arguments,
        train_dataset=Dataset.from_list([_columns(example) for example in examples]),
        processing_class=policy.tokenizer,
        callbacks=callbacks,
        **more,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def config(policy: Policy, settings: TrainSettings, folder: Path) -> DPOConfig:
    """trl's settings that mean what ours mean."""
    step = settings.step
    kind = _LOSSES[step.loss]
    if step.loss == "sigmoid" and step.length_normalised:
        kind = "sigmoid_norm"
    micro = next(
        m
        for m in range(min(_MICRO_BATCH, settings.batch_size), 0, -1)
        if settings.batch_size % m == 0
    )
    return DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch_size // micro,
        learning_rate=step.learning_rate,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=step.weight_decay,
        max_grad_norm=step.max_grad_norm,
        optim="sgd" if step.optimizer == "sgd" else "adamw_torch",
        seed=settings.seed,
        beta=step.beta,
        loss_type=[kind],
        max_length=None,
        precompute_ref_log_probs=True,
        bf16=step.precision == torch.bfloat16,
        fp16=step.precision == torch.float16,
        gradient_checkpointing=settings.gradient_checkpointing,
        train_sampling_strategy="random" if settings.shuffle else "sequential",
        save_strategy="steps" if settings.checkpoint_every else "no",
        save_steps=settings.checkpoint_every or 500,
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        use_cpu=policy.device.type == "cpu",
        dataloader_pin_memory=False,
    )


def _columns(example: Example) -> dict[str, Any]:
    a, b = example.row.completions
    sides = [(a, example.ref_a), (b, example.ref_b)]
    chosen, rejected = sides if example.p == 1.0 else sides[::-1]
    return {
        "prompt_ids": list(example.row.prompt),
        "chosen_ids": list(chosen[0]),
        "rejected_ids": list(rejected[0]),
        "ref_chosen_logps": chosen[1],
        "ref_rejected_logps": rejected[1],
    }


def _checkpoint(settings: TrainSettings) -> str | None:
    if settings.resume_from is None or not settings.resume_from.is_dir():
        return None
    newest: str | None = get_last_checkpoint(str(settings.resume_from))
    return newest


def _clean(policy: Policy) -> None:
    """Takes off what trl put on: its patched forward, and the copy of the adapter it started from,
    which it makes as reference of a later round and which would be saved along.
    """
    policy.base.__dict__.pop("forward", None)
    if policy.has_adapter and "ref" in policy.model.peft_config:
        policy.model.delete_adapter("ref")
    policy.model.eval()


class _Halt(TrainerCallback):  # type: ignore[misc]
    """Ends the training behind the step at which it is asked to, with a checkpoint."""

    def __init__(self, stop: Callable[[], bool] | None, saves: bool) -> None:
        self.stop, self.saves = stop, saves
        self.done = 0

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.stop is not None and state.global_step < state.max_steps and self.stop():
            self.done = state.global_step
            control.should_save = self.saves
            control.should_training_stop = True


class _Log(TrainerCallback):  # type: ignore[misc]
    """Collects a step's figures under this library's names."""

    def __init__(self, progress: StepProgress | None, pairs: int) -> None:
        self.progress, self.pairs = progress, pairs
        self.entries: list[dict[str, float]] = []

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        _control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        entry = {
            "step": float(state.global_step),
            "loss": float(logs["loss"]),
            "accuracy": float(logs["rewards/accuracies"]),
            "margin": float(logs["rewards/margins"]),
            "reward_chosen": float(logs["rewards/chosen"]),
            "reward_rejected": float(logs["rewards/rejected"]),
            "grad_norm": float(logs.get("grad_norm", float("nan"))),
            "learning_rate": float(logs["learning_rate"]),
        }
        if not torch.isfinite(torch.tensor([entry["loss"], entry["grad_norm"]])).all():
            raise Diverged(
                f"step {state.global_step}: trl's loss or gradient is not finite; lower the "
                "learning rate, or use trainer='packed', which names the pair"
            )
        self.entries.append(entry)
        if self.progress:
            self.progress(state.global_step, state.max_steps, entry)
