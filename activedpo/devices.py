"""Training on several devices at once: each process takes a share of every batch.

    accelerate launch script.py        # or torchrun; script.py calls train_dpo as on one device

All processes see the same labels in the same order and hold the same weights; gradients are added
up before each update, so the steps are those of one device. Without a process group there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def count() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is; 0 is the one that writes."""
    return dist.get_rank() if count() > 1 else 0


def share(batch: Sequence[T]) -> list[T]:
    """This process's part of a batch."""
    return list(batch[rank() :: count()])


def gather(value: T) -> list[T]:
    """The value of every process, in the order of their ranks."""
    if count() == 1:
        return [value]
    values: list[T | None] = [None] * count()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Adds up the gradients of all processes, in place."""
    if count() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:  # its share was empty, or did not reach this weight
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def wait() -> None:
    """Until all processes are here."""
    if count() > 1:
        dist.barrier()
