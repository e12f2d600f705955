"""A DPO round: from labels to a new policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from activedpo import devices
from activedpo.encoding import EncodedPair, encode_pair
from activedpo.errors import (
    ContextOverflow,
    EmptyCompletion,
    EmptyPrompt,
    ModelMismatch,
    NothingToTrain,
    TokenizerMismatch,
)
from activedpo.loading import Policy, pick_dtype
from activedpo.losses import LOSSES
from activedpo.packed import Example, StepSettings
from activedpo.packing import Row, default_budget
from activedpo.scoring import Reference, resolve_reference, score_rows
from activedpo.trainable import trainable_copy
from activedpo.types import Dropped, Preference, TrainResult

TRAINERS = ("packed", "trl")
STRATEGIES = ("ddp", "fsdp2")

StepProgress = Callable[[int, int, dict[str, float]], None]
"""Called with (step, total steps, metrics of the step)."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Settings of a training; see `train_dpo`."""

    step: StepSettings
    epochs: int
    max_steps: int | None
    batch_size: int
    seed: int
    shuffle: bool
    schedule: str
    warmup_ratio: float
    holdout: float
    patience: int
    checkpoint_every: int | None
    checkpoint_dir: Path | None
    resume_from: Path | None
    gradient_checkpointing: bool
    strategy: str = "ddp"

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.epochs < 1:
            raise ValueError("batch_size and epochs must be at least 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, not {self.max_steps}")
        if self.schedule not in ("constant", "linear", "cosine"):
            raise ValueError(
                f"schedule must be 'constant', 'linear' or 'cosine', not {self.schedule!r}"
            )
        if not 0.0 <= self.holdout < 1.0:
            raise ValueError(f"holdout is a share in [0, 1), not {self.holdout}")


def train_dpo(
    policy: Policy,
    preferences: Sequence[Preference],
    reference: Policy | str | Path | None = None,
    beta: float = 0.1,
    lora: int = 16,
    out: str | Path | None = None,
    *,
    trainer: str = "packed",
    learning_rate: float | None = None,
    epochs: int = 3,
    max_steps: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    loss: str = "sigmoid",
    label_smoothing: float = 0.0,
    length_normalised: bool = False,
    ref_logps: np.ndarray | None = None,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    schedule: str = "linear",
    warmup_ratio: float = 0.0,
    shuffle: bool = True,
    lora_alpha: float | None = None,
    lora_dropout: float = 0.0,
    gradient_checkpointing: bool = False,
    precision: str | torch.dtype | None = None,
    token_budget: int | None = None,
    holdout: float = 0.0,
    patience: int = 1,
    checkpoint_every: int | None = None,
    checkpoint_dir: str | Path | None = None,
    resume_from: str | Path | None = None,
    base_name: str | None = None,
    strategy: str = "ddp",
    progress: StepProgress | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Trains a policy on preferences by DPO (arXiv 2305.18290).

    `policy` is where training starts and is never changed itself. To *reset*, pass the base policy;
    to *continue*, the last one: its adapter is trained on, never a second one on top. In both cases
    the reference stays π_0.

    Args:
        preferences: labels; a pair that does not fit the context is left out, counted in
            `metrics["dropped"]` and named in `result.dropped`, never cut.
        reference: π_0. None: the adapter switched off, or, without one, the policy as loaded.
        beta: β, > 0.
        lora: rank of the adapter, 0 for full weights.
        out: folder for the trained adapter or full model (safetensors) and tokenizer.
        trainer: "packed" (this library's) or "trl" (its DPOTrainer, hard labels only).
        learning_rate: default 2e-4 with LoRA, 5e-6 with full weights.
        epochs, max_steps: passes over the labels; max_steps, if given, decides instead.
        batch_size: pairs an update. Memory is bounded by `token_budget`, not by this.
        loss: "sigmoid", "ipo" or "hinge".
        label_smoothing: ε, p becomes (1 − ε) p + ε (1 − p).
        length_normalised: log-ratios per token (IPO always).
        ref_logps: (n, 2) stored log π_0 of completion_a and completion_b, as `score_pairs` gave
            them: spares the reference pass. Two of them are checked against a fresh pass.
        optimizer: "adamw" or "sgd"; schedule: "linear", "cosine" or "constant", after a warm-up of
            `warmup_ratio` of all steps.
        precision: autocast dtype, e.g. "bfloat16"; default: the policy's own where it is a half
            precision, else none.
        token_budget: tokens of a piece of a batch; halves by itself when memory runs out.
        holdout: share of the labels held back; training stops when their loss has not fallen for
            `patience` epochs, and the best weights are kept.
        checkpoint_every: steps between checkpoints in `checkpoint_dir` (default `out`/checkpoints).
        resume_from: folder of checkpoints to go on from, bit for bit ("packed"); one without a
            checkpoint starts from the beginning.
        base_name: hub id or neutral name that the adapter's config gives as its base.
        strategy: of several processes (see `devices`): "ddp", each holds all weights, or "fsdp2",
            full weights in shares (see `sharding`). One process is the same under both.
        progress: called after each step.
        stop: asked after each step; True ends the training there, with a checkpoint (where
            `checkpoint_every` asks for any) and `Interrupted`.

    Raises:
        NothingToTrain, InvalidPreference, ModelMismatch, CheckpointMismatch, OutOfMemory,
        Interrupted; Diverged
        where not even the first step was finite (later, the last good weights are returned and
        `metrics["stopped"]` says at which pair).
    """
    _check(trainer, loss, beta, label_smoothing)
    _check_strategy(strategy, trainer, lora)
    start = trainable_copy(policy, lora, seed, lora_alpha, lora_dropout)
    half = policy.dtype if policy.dtype in (torch.bfloat16, torch.float16) else None
    rate = learning_rate if learning_rate is not None else (2e-4 if start.has_adapter else 5e-6)
    step = StepSettings(
        beta=beta,
        loss=loss,
        label_smoothing=label_smoothing,
        length_normalised=length_normalised,
        learning_rate=rate,
        optimizer=optimizer,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        precision=half if precision is None else pick_dtype(precision, policy.device),
        token_budget=token_budget or default_budget(policy.device) // 2,
    )
    settings = TrainSettings(
        step=step,
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        schedule=schedule,
        warmup_ratio=warmup_ratio,
        holdout=holdout,
        patience=patience,
        checkpoint_every=checkpoint_every,
        checkpoint_dir=_checkpoint_dir(checkpoint_dir, checkpoint_every, out),
        resume_from=Path(resume_from) if resume_from else None,
        gradient_checkpointing=gradient_checkpointing,
        strategy=strategy,
    )
    encoded, dropped = encode_preferences(policy, preferences)
    base = resolve_reference(policy, reference, [pair for _, pair in encoded])
    examples = build_examples(preferences, encoded, base, ref_logps)
    metrics = _run(trainer, start, examples, settings, lora_dropout, progress, stop)
    start.model.requires_grad_(False).eval()
    if start.has_adapter is False and reference is not None:
        start.initial = base.policy
    metrics |= {"dropped": len(dropped), "pairs": len(examples), "trainer": trainer}
    if out is not None and devices.rank() == 0:
        start.save(out, base_name)
    devices.wait()
    saved = str(out) if out is not None else None
    return TrainResult(policy=start, metrics=metrics, dropped=dropped, out=saved)


def encode_preferences(
    policy: Policy, preferences: Sequence[Preference]
) -> tuple[list[tuple[int, EncodedPair]], list[Dropped]]:
    """Token ids of the usable pairs with their index, and those that are left out, with reasons."""
    usable: list[tuple[int, EncodedPair]] = []
    dropped: list[Dropped] = []
    for index, preference in enumerate(preferences):
        try:
            usable.append((index, encode_pair(policy, preference.pair, index)))
        except (ContextOverflow, EmptyCompletion, EmptyPrompt, TokenizerMismatch) as error:
            dropped.append(Dropped(index, preference.pair.id, str(error)))
    if not usable:
        reasons = "; ".join(d.reason for d in dropped[:3]) or "the list is empty"
        raise NothingToTrain(f"no preference to train on: {reasons}")
    return usable, dropped


def build_examples(
    preferences: Sequence[Preference],
    encoded: Sequence[tuple[int, EncodedPair]],
    base: Reference,
    ref_logps: np.ndarray | None,
) -> list[Example]:
    """Examples with the reference's log-probs: stored ones, or by one pass."""
    rows = [Row(pair.prompt, (pair.a, pair.b)) for _, pair in encoded]
    if ref_logps is None:
        with base.active() as model:
            values = np.array(score_rows(model, rows).logp)
    else:
        values = _stored(np.asarray(ref_logps, dtype=np.float64), preferences, encoded)
        _check_stored(values, rows, base)
    return [
        Example(
            index=index,
            id=preferences[index].pair.id,
            row=row,
            p=preferences[index].p,
            weight=preferences[index].weight,
            ref_a=float(value[0]),
            ref_b=float(value[1]),
        )
        for (index, _), row, value in zip(encoded, rows, values, strict=True)
    ]


def _stored(
    ref_logps: np.ndarray,
    preferences: Sequence[Preference],
    encoded: Sequence[tuple[int, EncodedPair]],
) -> np.ndarray:
    if ref_logps.shape != (len(preferences), 2):
        raise ValueError(
            f"ref_logps must have shape ({len(preferences)}, 2), not {ref_logps.shape}"
        )
    chosen: np.ndarray = ref_logps[[index for index, _ in encoded]]
    if not np.isfinite(chosen).all():
        bad = encoded[int(np.flatnonzero(~np.isfinite(chosen).all(1))[0])][0]
        raise ValueError(f"ref_logps of pair {bad} is not finite: score it again")
    return chosen


def _check_stored(values: np.ndarray, rows: Sequence[Row], base: Reference) -> None:
    """Two stored values against a fresh pass: the wrong reference would train in silence."""
    sample = sorted({0, len(rows) - 1})
    with base.active() as model:
        fresh = np.array(score_rows(model, [rows[i] for i in sample]).logp)
    # Half precisions and other batches move a sum by a few per cent; another model moves it more.
    off = np.abs(fresh - values[sample]) > 0.5 + 0.05 * np.abs(fresh)
    if off.any():
        place = sample[int(np.flatnonzero(off.any(1))[0])]
        raise ModelMismatch(
            f"stored ref_logps of example {place} are {values[place].tolist()}, but the reference "
            f"gives {fresh[sample.index(place)].tolist()}: score the pairs again"
        )


def _check(trainer: str, loss: str, beta: float, label_smoothing: float) -> None:
    if trainer not in TRAINERS:
        raise ValueError(f"trainer must be one of {', '.join(TRAINERS)}, not {trainer!r}")
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
    if not beta > 0:
        raise ValueError(f"beta must be positive, not {beta}")
    if not 0.0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be in [0, 0.5), not {label_smoothing}")


def _check_strategy(strategy: str, trainer: str, lora: int) -> None:
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if strategy == "fsdp2" and lora:
        raise ValueError("strategy 'fsdp2' shares out full weights: use lora=0, or 'ddp'")
    if trainer == "trl" and devices.count() > 1:
        raise ValueError("trainer 'trl' runs here in one process: use 'packed' in several")


def _checkpoint_dir(
    folder: str | Path | None, every: int | None, out: str | Path | None
) -> Path | None:
    if every is None:
        return None
    if every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, not {every}")
    if folder is None and out is None:
        raise ValueError("checkpoint_every needs checkpoint_dir= or out=")
    return Path(folder) if folder is not None else Path(str(out)) / "checkpoints"


def _run(
    trainer: str,
    start: Policy,
    examples: list[Example],
    settings: TrainSettings,
    lora_dropout: float,
    progress: StepProgress | None,
    stop: Callable[[], bool] | None,
) -> dict[str, Any]:
    if trainer == "trl":
        from activedpo.trl_trainer import refuse_soft, train_with_trl

        refuse_soft(examples, settings)
        return train_with_trl(start, examples, settings, progress, stop)
    from activedpo.packed_trainer import PackedTrainer

    return PackedTrainer(start, examples, settings, lora_dropout > 0, progress, stop).run()
