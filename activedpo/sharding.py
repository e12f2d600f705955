"""Full weights in shares: each process keeps a part of parameters, gradients and optimizer state.

By torch's own `fully_shard` (FSDP2; the idea is ZeRO's third stage, arXiv 1910.02054): a layer is
put together for its forward and backward and taken apart again, so that of 16 bytes a parameter
(float32 weight, gradient, two moments) each of n processes holds 16 / n, and one layer whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from activedpo import devices
from activedpo.loading import Policy


class Shards:
    """A policy whose weights are in shares, until :meth:`unite`.

    Args:
        root: the module that is called; the policy's model is in it.
        policy: its model's parameters are replaced by this process's shares.
    """

    def __init__(self, root: nn.Module, policy: Policy) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self._policy = policy
        self._empty = _without_weights(policy.model)
        mesh = init_device_mesh(policy.device.type, (devices.count(),))
        layers = set(policy.base._no_split_modules or ())
        for module in list(policy.base.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
        shared: Any = fully_shard(root, mesh=mesh)
        for module in shared.modules():
            if hasattr(module, "set_gradient_divide_factor"):
                # Sums, as of one process: losses are divided by the whole batch already.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def unite(self) -> None:
        """Gives the policy a model with whole weights again, the same in every process."""
        weights = {name: whole(p) for name, p in self._policy.model.named_parameters()}
        self._empty.load_state_dict(weights, strict=False, assign=True)
        self._empty.tie_weights()
        self._policy.model = self._empty.eval()


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all shares of it put together: then every process must call it."""
    tensor = tensor.detach()
    return tensor.full_tensor() if _is_shared(tensor) else tensor  # type: ignore[attr-defined]


def whole_ones(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors by name, one after the other, in the process that writes; elsewhere none."""
    return dict(_kept(tensors.items()))


def like(value: Tensor, shared: Tensor) -> Tensor:
    """This process's share of a whole value, cut as ``shared`` is; uncut where it is not."""
    value = value.to(shared.device)
    if not _is_shared(shared):
        return value
    from torch.distributed.tensor import distribute_tensor

    cut: Any = shared
    return distribute_tensor(value, cut.device_mesh, cut.placements, src_data_rank=None)


def _is_shared(tensor: Tensor) -> bool:
    if devices.count() == 1:
        return False  # and half a second of imports spared
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _kept(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors:
        together = whole(tensor)
        if devices.rank() == 0:
            # A whole copy of what was in shares belongs on no accelerator
            yield name, (together.cpu() if _is_shared(tensor) else together).contiguous()


def _without_weights(model: Any) -> Any:
    """The same modules and buffers with parameters that hold nothing."""
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, empty)
