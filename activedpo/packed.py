"""The packed DPO step: both completions of a pair behind one prompt, rows without a reference pass.

One row a pair (drawn in full in `packing`); x marks what a query may see:

    row   p0 p1 p2 | a1 a2 | b1 b2 b3        positions 0 1 2 | 3 4 | 3 4 5

          p  x . .   . .     . . .           the prompt is computed once for both completions
          p  x x .   . .     . . .
          p  x x x   . .     . . .           → log π(a1), log π(b1)
          a  x x x   x .     . . .           → log π(a2)
          a  x x x   x x     . . .           → log π(a3), the end token
          b  x x x   . .     x . .           → log π(b2) …

Sums over a completion give log π_θ(a|x) and log π_θ(b|x); the reference's are numbers that scoring
stored. Δ is their difference of log-ratios, the loss a function of Δ (`losses`), its gradient flows
back through the same row. A batch is cut into pieces of at most a budget of tokens whose gradients
add up, so neither its size nor its longest pair decides the memory.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activedpo import devices
from activedpo.attention import packed_attention
from activedpo.errors import OutOfMemory, ran_out_of_memory
from activedpo.loading import Policy
from activedpo.losses import LOSSES, smoothed
from activedpo.packing import (
    Row,
    can_pack,
    collate,
    flex_learns,
    logprobs,
    plain_logprobs,
    plan,
    sum_by_owner,
)
from activedpo.sharding import Shards, whole
from activedpo.trainable import put_back, snapshot, trained_parameters


@dataclass(frozen=True, slots=True)
class Example:
    """A preference ready to train on.

    Args:
        index: its place in the list that `train_dpo` was given; `id` its pair's name.
        row: prompt and both completions.
        p, weight: label and factor.
        ref_a, ref_b: log π_0 of both completions.
    """

    index: int
    id: str | None
    row: Row
    p: float
    weight: float
    ref_a: float
    ref_b: float

    @property
    def name(self) -> str:
        return f"{self.index} (id {self.id})" if self.id else str(self.index)


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step computes; see `train_dpo` for the meaning of each."""

    beta: float
    loss: str = "sigmoid"
    label_smoothing: float = 0.0
    length_normalised: bool = False
    learning_rate: float = 1e-4
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: torch.dtype | None = None
    token_budget: int = 1_024

    @property
    def per_token(self) -> bool:
        # IPO is meant per token (its authors, and trl): the regression target has no length in it.
        return self.length_normalised or self.loss == "ipo"


class NotFinite(ArithmeticError):
    """A loss or gradient that is no number, or beyond any use; the weights did not move."""


DIVERGED = 1e6
"""A pair's loss above this is a run that has left all sense."""


class Pass(nn.Module):
    """log π_θ of both completions of rows, as one module: the root of what is in shares."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy, self.packs = policy, can_pack(policy)
        policy.flex = policy.flex and flex_learns(policy)
        self.model = policy.model

    def forward(self, rows: Sequence[Row]) -> Tensor:
        """(n, 2)."""
        policy = self.policy
        if self.packs:
            pad = int(policy.tokenizer.pad_token_id or 0)
            batch = collate(rows, pad, policy.device, policy.flex)
            values, _ = logprobs(policy, batch)
            return sum_by_owner(values, batch).view(-1, 2)
        (row,) = rows
        sums = [plain_logprobs(policy, row.prompt, c).sum() for c in row.completions]
        return torch.stack(sums).view(1, 2)


class PackedStep:
    """Optimizer and loss of a policy's trainable weights.

    Args:
        shared: the weights, all of them trained, are kept in shares by the processes.
    """

    def __init__(self, policy: Policy, settings: StepSettings, shared: bool = False) -> None:
        self.policy, self.settings = policy, settings
        self.logp = Pass(policy)
        self.shards = Shards(self.logp, policy) if shared else None
        self.parameters = trained_parameters(policy)
        self.optimizer = _optimizer(list(self.parameters.values()), settings)
        self.budget = settings.token_budget
        self.previous: dict[str, Tensor] | None = None
        """The weights before the last update: what a run that diverges falls back to."""

    def __call__(self, batch: Sequence[Example], learning_rate: float) -> dict[str, float]:
        """One update on a batch; returns its metrics.

        Raises:
            NotFinite: naming the pair; the weights are as before. OutOfMemory: one row is too much.
        """
        started = time.perf_counter()
        outcome = self._gradients(batch)
        norm = self._clip(batch)
        self.remember()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return outcome | {
            "grad_norm": norm,
            "learning_rate": learning_rate,
            "seconds": time.perf_counter() - started,
        }

    def remember(self) -> None:
        """Keeps the weights as they are now as `previous`; one copy, written over each time."""
        if self.previous is None:
            self.previous = snapshot(self.parameters)
        else:
            put_back(self.parameters, self.previous)

    def evaluate(self, batch: Sequence[Example]) -> dict[str, float]:
        """Loss and accuracy without an update."""
        with torch.no_grad():
            return self._run(batch, backward=False)

    def _gradients(self, batch: Sequence[Example]) -> dict[str, float]:
        while True:
            try:
                return self._run(batch, backward=True)
            except RuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                self._shrink(batch, error)

    def _shrink(self, batch: Sequence[Example], error: RuntimeError) -> None:
        """Half the budget for the batch to come; its gradients are made anew from nothing."""
        self.optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        longest = max(example.row.length for example in batch)
        if self.shards is not None:  # the others wait for this process's part of a layer
            raise OutOfMemory(
                f"a piece of {self.budget} tokens does not fit beside the weights' shares: use "
                "more processes, gradient_checkpointing, a smaller token_budget, or LoRA"
            ) from error
        if self.budget < longest:
            raise OutOfMemory(
                f"one pair of {longest} tokens does not fit the memory: use "
                "gradient_checkpointing, a lower rank, LoRA for full weights, or shorter texts"
            ) from error
        self.budget //= 2

    def _run(self, batch: Sequence[Example], backward: bool) -> dict[str, float]:
        with packed_attention(self.policy):
            return self._passes(batch, backward)

    def _passes(self, batch: Sequence[Example], backward: bool) -> dict[str, float]:
        books = _Books(len(batch))
        for chosen, counts in self._pieces(batch):
            with self._precision():
                logp = self.logp([example.row for example in chosen])
            losses, rewards = self._losses(chosen, logp)
            if counts:
                books.add(chosen, losses.detach(), rewards.detach())
            if books.wrong and self.shards is None:
                break
            if backward:
                # Divided by the batch's pairs: pieces of a batch add up to its mean.
                torch.autograd.backward(losses.sum() * float(counts) / len(batch))
        together = _Books.merged(devices.gather(books))
        if together.wrong:  # on whichever device: all of them stop here
            self.optimizer.zero_grad(set_to_none=True)
            raise NotFinite(together.wrong)
        if backward and self.shards is None:
            devices.sum_gradients(self.parameters.values())
        return together.metrics() | {"tokens": float(sum(e.row.length for e in batch))}

    def _pieces(self, batch: Sequence[Example]) -> list[tuple[list[Example], bool]]:
        """This process's pieces of a batch, and whether they count.

        With weights in shares all processes must go through the layers equally often: who has
        fewer pieces goes through with the shortest pair, for nothing.
        """
        mine = devices.share(batch)
        rows = [example.row for example in mine]
        planned = plan(rows, self.budget if self.logp.packs else 1, self.policy.flex)
        pieces = [([mine[i] for i in indices], True) for indices in planned]
        if self.shards is not None:
            shortest = min(batch, key=lambda example: example.row.length)
            missing = max(devices.gather(len(pieces))) - len(pieces)
            pieces += [([shortest], False)] * missing
        return pieces

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        low = self.settings.precision
        if low is None:
            return contextlib.nullcontext()
        return torch.autocast(self.policy.device.type, dtype=low)

    def _losses(self, examples: Sequence[Example], logp: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) weighted losses, and (n, 2) implicit rewards."""
        settings = self.settings
        # logp.new_tensor: on its device and in its precision, float64 where the model is.
        reference = logp.new_tensor([[e.ref_a, e.ref_b] for e in examples])
        p = logp.new_tensor([e.p for e in examples])
        weight = logp.new_tensor([e.weight for e in examples])
        ratios = logp - reference
        if settings.per_token:
            counts = [[len(completion) for completion in e.row.completions] for e in examples]
            ratios = ratios / logp.new_tensor(counts)
        delta = ratios[:, 0] - ratios[:, 1]
        label = smoothed(p, settings.label_smoothing)
        return weight * LOSSES[settings.loss](delta, label, settings.beta), settings.beta * ratios

    def _clip(self, batch: Sequence[Example]) -> float:
        limit = self.settings.max_grad_norm or math.inf
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit)))
        if not math.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            names = ", ".join(example.name for example in batch[:8])
            raise NotFinite(f"the gradient is {norm} in the batch of pairs {names}")
        return norm


def _optimizer(parameters: list[Tensor], settings: StepSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    raise ValueError(f"optimizer must be 'adamw' or 'sgd', not {settings.optimizer!r}")


def _wrong(examples: Sequence[Example], losses: Tensor) -> str | None:
    for example, value in zip(examples, losses.tolist(), strict=True):
        if not math.isfinite(value) or abs(value) > DIVERGED:
            return f"the loss of pair {example.name} is {value}"
    return None


class _Books:
    """Sums of a batch's pieces."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        self.loss = 0.0
        self.rewards: list[np.ndarray] = []
        self.labels: list[float] = []
        self.wrong: str | None = None

    @classmethod
    def merged(cls, parts: Sequence[_Books]) -> _Books:
        """The books of all devices as one."""
        whole = cls(parts[0].pairs)
        for part in parts:
            whole.loss += part.loss
            whole.rewards.extend(part.rewards)
            whole.labels.extend(part.labels)
            whole.wrong = whole.wrong or part.wrong
        return whole

    def add(self, examples: Sequence[Example], losses: Tensor, rewards: Tensor) -> None:
        self.wrong = self.wrong or _wrong(examples, losses)
        self.loss += float(losses.sum())
        self.rewards.append(rewards.double().cpu().numpy())
        self.labels.extend(example.p for example in examples)

    def metrics(self) -> dict[str, float]:
        rewards = np.concatenate(self.rewards)
        towards = np.sign(np.array(self.labels) - 0.5)  # 0 for a tie: no side is right
        margin = (rewards[:, 0] - rewards[:, 1]) * towards
        decided = towards != 0
        first = towards >= 0
        known = {}
        if decided.any():
            known["accuracy"] = float((margin[decided] > 0).mean())
            known["margin"] = float(margin[decided].mean())
        return known | {
            "loss": self.loss / self.pairs,
            "reward_chosen": float(np.where(first, rewards[:, 0], rewards[:, 1]).mean()),
            "reward_rejected": float(np.where(first, rewards[:, 1], rewards[:, 0]).mean()),
        }
