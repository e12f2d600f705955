"""Checkpoints of a training: weights, optimizer state and place, no pickle, whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from activedpo import devices, sharding
from activedpo.errors import CheckpointMismatch

_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights.safetensors", "optimizer.safetensors"


def save(
    folder: Path,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Writes `step-N` beside the earlier ones, then removes those.

    It is made under another name and renamed when whole: a crash leaves the earlier one in place.
    Of several processes all must call it, and the first writes: whole tensors, however they are
    kept, so that any number of processes can go on from them.
    """
    weights = sharding.whole_ones(parameters)
    moments = sharding.whole_ones(_optimizer_tensors(parameters, optimizer))
    if devices.rank() == 0:
        _write(folder, step, weights, moments, state)
    devices.wait()


def _write(
    folder: Path,
    step: int,
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    state: dict[str, Any],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made, final = folder / f".making-{step}", folder / f"step-{step:08d}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    save_file(weights, made / _WEIGHTS)
    save_file(moments, made / _OPTIMIZER)
    random = {"torch": torch.get_rng_state().tolist()}
    (made / _STATE).write_text(json.dumps(state | {"step": step, "random": random}))
    shutil.rmtree(final, ignore_errors=True)
    made.rename(final)
    for older in _steps(folder)[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def restore(
    folder: Path,
    fingerprint: str,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any] | None:
    """Loads the newest whole checkpoint in place; returns its state, or None where there is none.

    Raises:
        CheckpointMismatch: it belongs to other pairs, weights or settings.
    """
    found = _steps(folder)
    if not found:
        return None
    newest = found[-1]
    state: dict[str, Any] = json.loads((newest / _STATE).read_text())
    if state["fingerprint"] != fingerprint:
        raise CheckpointMismatch(
            f"the checkpoint in {folder} was made with other pairs or settings: "
            "remove it to start from the beginning"
        )
    _load_weights(load_file(newest / _WEIGHTS), parameters)
    _load_optimizer(load_file(newest / _OPTIMIZER), parameters, optimizer)
    torch.set_rng_state(torch.tensor(state["random"]["torch"], dtype=torch.uint8))
    return state


def _steps(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if (p / _STATE).is_file())


def _load_weights(saved: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    if saved.keys() != parameters.keys():
        raise CheckpointMismatch("the checkpoint holds other weights: remove it to start anew")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(sharding.like(saved[name], parameter))


def _optimizer_tensors(
    parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    return {
        f"{name}|{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(
    saved: dict[str, Tensor],
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    for entry, value in saved.items():
        name, _, key = entry.rpartition("|")
        parameter = parameters[name]
        # Adam's step counter lives on the CPU wherever the weights are, and whole.
        mine = value if key == "step" else sharding.like(value, parameter)
        optimizer.state[parameter][key] = mine
