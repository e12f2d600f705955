"""The copy of a policy that is trained: the policy that was passed in never changes.

Frozen weights are shared between the two, so LoRA costs no second model; what is trained is the
copy's own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from activedpo.loading import Policy


def trainable_copy(
    policy: Policy, lora: int, seed: int, alpha: float | None = None, dropout: float = 0.0
) -> Policy:
    """A policy to train, starting from this one.

    Args:
        lora: rank of a new adapter; 0 trains all weights (an adapter on `policy` is merged first).
            Where `policy` has an adapter already, that adapter is trained on, at its own rank:
            there is never a second one on top.
        seed: of the new adapter's random half.
        alpha: LoRA's scale is alpha / rank; default alpha = 2 · rank.
        dropout: on the adapter's input while training.

    Returns:
        In eval mode; exactly the weights to train ask for gradients. `initial` is kept, so that
        `reference=None` goes on to mean π_0.
    """
    if lora < 0:
        raise ValueError(f"lora is a rank: 0 (all weights) or more, not {lora}")
    if lora == 0:
        return _full(policy)
    if policy.has_adapter:
        model = shared_copy(policy.model, own=_adapter_parameters(policy.model))
    else:
        model = _with_adapter(policy, lora, seed, alpha, dropout)
    wide = torch.promote_types(policy.dtype, torch.float32)
    for parameter in _adapter_parameters(model):
        parameter.data = parameter.data.to(wide)
        parameter.requires_grad_(True)
    return replace(policy, model=model.eval())


def shared_copy(model: Any, own: Sequence[Tensor] | None = None) -> Any:
    """A copy of the modules that shares the tensors, except those in `own`."""
    owned = {id(tensor) for tensor in own or ()}
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(t): t for t in tensors if id(t) not in owned})


MERGED_BYTES = 4 << 30
"""Weights up to this size are copied to merge an adapter for sampling."""


def merged(policy: Policy) -> Policy:
    """The same policy with its adapter added into a copy of the weights, for sampling.

    Thousands of small steps pay for an adapter's extra products each time. Left as it is: half
    precision, where the sum would be rounded; large models; an adapter that is switched off.
    """
    if not policy.has_adapter or policy.dtype not in (torch.float32, torch.float64):
        return policy
    layers = [m for m in policy.model.modules() if hasattr(m, "base_layer")]
    large = sum(m.base_layer.weight.nbytes for m in layers) > MERGED_BYTES
    if large or any(m.disable_adapters for m in layers):
        return policy
    own = shared_copy(policy.model, own=[m.base_layer.weight for m in layers])
    return replace(policy, model=own.merge_and_unload())


def trained_parameters(policy: Policy) -> dict[str, nn.Parameter]:
    """The weights that ask for gradients, by name."""
    return {n: p for n, p in policy.model.named_parameters() if p.requires_grad}


def snapshot(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the weights as they are now."""
    return {name: weight.detach().clone() for name, weight in parameters.items()}


def put_back(weights: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Writes `weights` over those of the same names."""
    with torch.no_grad():
        for name, weight in into.items():
            weight.copy_(weights[name])


def _full(policy: Policy) -> Policy:
    model = copy.deepcopy(policy.model)
    initial = policy.initial or policy
    if policy.has_adapter:
        initial = policy.initial or replace(policy, model=policy.base_without_adapter())
        model = model.merge_and_unload()
    # Updates of 1e-6 vanish in bfloat16: the trained weights are float32 at least.
    model = model.to(torch.promote_types(policy.dtype, torch.float32))
    return replace(policy, model=model.eval().requires_grad_(True), initial=initial)


def _with_adapter(policy: Policy, rank: int, seed: int, alpha: float | None, dropout: float) -> Any:
    from peft import LoraConfig, get_peft_model

    base = shared_copy(policy.model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        lora_dropout=dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(type(m).__name__ == "Conv1D" for m in base.modules()),
        bias="none",
        task_type="CAUSAL_LM",
    )
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return get_peft_model(base, config)


def _adapter_parameters(model: Any) -> list[nn.Parameter]:
    names = [f".{name}." for name in model.peft_config]
    return [
        parameter
        for key, parameter in model.named_parameters()
        if any(name in f"{key}." for name in names)
    ]
