"""The loop around the packed step: order, schedule, checkpoints, early stop, divergence."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activedpo import checkpoints, devices
from activedpo.errors import Diverged, Interrupted
from activedpo.loading import Policy
from activedpo.packed import Example, NotFinite, PackedStep
from activedpo.trainable import put_back, snapshot
from activedpo.training import StepProgress, TrainSettings


class PackedTrainer:
    """Trains a policy's trainable weights in place.

    Everything that decides a step (order, rate) is a function of seed and step number, so a resume
    needs only weights, optimizer state and the step number to go on bit for bit.
    """

    def __init__(
        self,
        policy: Policy,
        examples: Sequence[Example],
        settings: TrainSettings,
        dropout: bool = False,
        progress: StepProgress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.policy, self.settings, self.progress = policy, settings, progress
        self.stop = stop
        self.examples, self.held = _split(examples, settings)
        shared = settings.strategy == "fsdp2" and devices.count() > 1
        self.step = PackedStep(policy, settings.step, shared)
        self._dropout = dropout
        self.an_epoch = math.ceil(len(self.examples) / settings.batch_size)
        self.total = settings.max_steps or settings.epochs * self.an_epoch
        self.fingerprint = _fingerprint(examples, settings)
        self.log: list[dict[str, float]] = []
        self.stopped: str | None = None
        self.best = _Best(settings.patience)
        _set_modes(policy, settings, dropout)

    def run(self) -> dict[str, Any]:
        """Trains to the end; returns the metrics of `TrainResult`."""
        started = time.perf_counter()
        first = self._resume()
        with _seeded(self.settings.seed, resumed=first > 0):
            for number in range(first, self.total):
                if not self._advance(number) or self._ends_early(number):
                    break
                self._checkpoint(number + 1)
                self._stop_if_asked(number + 1)
        self.best.restore(self.step.parameters)
        _unset_modes(self.policy)
        if self.step.shards is not None:
            self.step.shards.unite()
        return self._summary(time.perf_counter() - started)

    def _advance(self, number: int) -> bool:
        """One step; False where it met something that is not finite."""
        batch = [self.examples[i] for i in self._order(number)]
        rate = self.settings.step.learning_rate * factor(number, self.total, self.settings)
        if self._dropout and devices.count() > 1:
            # A stream of its own for each process and step, so that a resume finds them again
            torch.manual_seed(hash((self.settings.seed, number, devices.rank())))
        try:
            outcome = self.step(batch, rate)
        except NotFinite as error:
            self._fall_back(number, error)
            return False
        self.log.append({"step": number + 1.0} | outcome)
        if self.progress and devices.rank() == 0:
            self.progress(number + 1, self.total, self.log[-1])
        return True

    def _fall_back(self, number: int, error: NotFinite) -> None:
        advice = "lower the learning rate or look at that pair"
        if self.step.previous is None:
            raise Diverged(f"step {number + 1}: {error}; nothing was trained: {advice}") from error
        # The weights that led to this loss came from the last update: it is taken back.
        put_back(self.step.previous, self.step.parameters)
        self.stopped = f"step {number + 1}: {error}; weights of step {number - 1} kept: {advice}"

    def _order(self, number: int) -> list[int]:
        """Indices of a step's batch."""
        epoch, place = divmod(number, self.an_epoch)
        size = self.settings.batch_size
        order = np.arange(len(self.examples))
        if self.settings.shuffle:
            order = np.random.default_rng([self.settings.seed, epoch]).permutation(order)
        return [int(i) for i in order[place * size : (place + 1) * size]]

    def _ends_early(self, number: int) -> bool:
        if not self.held or (number + 1) % self.an_epoch:
            return False
        outcome = self.step.evaluate(self.held)
        kept = ("loss", "accuracy", "margin")
        self.log[-1] |= {f"held_{key}": outcome[key] for key in kept if key in outcome}
        if not self.best.worse(outcome["loss"], self.step.parameters):
            return False
        self.stopped = (
            f"step {number + 1}: the held-back loss has not fallen for "
            f"{self.settings.patience} epochs; the best weights are kept"
        )
        return True

    def _stop_if_asked(self, done: int) -> None:
        # Each process may have been told at another step: all stop where the first one was
        if self.stop is None or done == self.total or not any(devices.gather(self.stop())):
            return
        self._checkpoint(done, now=True)
        raise Interrupted(done, self.total)

    def _checkpoint(self, done: int, *, now: bool = False) -> None:
        every, folder = self.settings.checkpoint_every, self.settings.checkpoint_dir
        if every is None or folder is None or not (now or done == self.total or done % every == 0):
            return
        state = {"fingerprint": self.fingerprint, "log": self.log, "best": self.best.state()}
        checkpoints.save(folder, done, self.step.parameters, self.step.optimizer, state)

    def _resume(self) -> int:
        if self.settings.resume_from is None:
            return 0
        state = checkpoints.restore(
            self.settings.resume_from, self.fingerprint, self.step.parameters, self.step.optimizer
        )
        if state is None:
            return 0
        self.log = state["log"]
        self.best.load(state["best"], self.step.parameters)
        self.step.remember()
        return int(state["step"])

    def _summary(self, seconds: float) -> dict[str, Any]:
        last = self.log[-min(self.an_epoch, len(self.log)) :]
        means = {key: _mean(last, key) for key in ("loss", "accuracy", "margin")}
        return means | {"steps": self.log, "seconds": seconds, "stopped": self.stopped}


def factor(number: int, total: int, settings: TrainSettings) -> float:
    """Learning rate of step `number` (from 0) as a factor of the peak."""
    warm = math.ceil(settings.warmup_ratio * total)
    if number < warm:
        return number / warm
    left = (total - number) / max(1, total - warm)
    if settings.schedule == "linear":
        return left
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (1 - left)))
    return 1.0


def _mean(entries: Sequence[dict[str, float]], key: str) -> float | None:
    values = [entry[key] for entry in entries if key in entry]
    return float(np.mean(values)) if values else None


class _Best:
    """The best held-back loss so far and its weights."""

    def __init__(self, patience: int) -> None:
        self.patience, self.since = patience, 0
        self.loss = math.inf
        self.weights: dict[str, Tensor] | None = None

    def worse(self, loss: float, parameters: dict[str, nn.Parameter]) -> bool:
        """Books an epoch; True where the loss has not fallen for `patience` epochs."""
        if loss < self.loss:
            self.loss, self.since = loss, 0
            self.weights = snapshot(parameters)
            return False
        self.since += 1
        return self.since >= self.patience

    def restore(self, parameters: dict[str, nn.Parameter]) -> None:
        if self.weights is not None:
            put_back(self.weights, parameters)

    def state(self) -> dict[str, float]:
        return {"loss": self.loss, "since": self.since}

    def load(self, state: dict[str, float], parameters: dict[str, nn.Parameter]) -> None:
        self.loss, self.since = float(state["loss"]), int(state["since"])
        if self.loss < math.inf:
            self.weights = snapshot(parameters)


def _split(
    examples: Sequence[Example], settings: TrainSettings
) -> tuple[list[Example], list[Example]]:
    count = round(settings.holdout * len(examples))
    order = np.random.default_rng([settings.seed, 0, 1]).permutation(len(examples))
    held = {int(i) for i in order[:count]}
    kept = [e for i, e in enumerate(examples) if i not in held]
    return kept, [e for i, e in enumerate(examples) if i in held]


_DECIDES_NOTHING = (
    "checkpoint_every",
    "checkpoint_dir",
    "resume_from",
    "gradient_checkpointing",
    "strategy",
)


def _fingerprint(examples: Sequence[Example], settings: TrainSettings) -> str:
    """Of all that decides a step; not of where checkpoints lie or what is shown."""
    decides = asdict(settings)
    for key in _DECIDES_NOTHING:
        decides.pop(key)
    data = [[e.row.prompt, e.row.completions, e.p, e.weight, e.ref_a, e.ref_b] for e in examples]
    text = json.dumps([decides, data], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _set_modes(policy: Policy, settings: TrainSettings, dropout: bool) -> None:
    """Eval mode (no dropout, as the reference has none), but for what is asked to be on."""
    policy.model.eval()
    if dropout:
        for name, module in policy.model.named_modules():
            if "lora_dropout" in name:
                module.train()
    if settings.gradient_checkpointing:
        policy.base.activation_checkpointing_enable()
        for module in policy.base.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True  # of the layer alone: what is inside stays in eval mode


def _unset_modes(policy: Policy) -> None:
    if policy.base.is_activation_checkpointing:
        policy.base.activation_checkpointing_disable()
    policy.model.eval()


class _seeded:
    """Inside, torch's random numbers (dropout) come from the seed, or from where a resume put them;
    outside they are as before.
    """

    def __init__(self, seed: int, resumed: bool) -> None:
        self.seed, self.resumed = seed, resumed

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        if not self.resumed:
            torch.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.state)
