"""What the child runs on, and the most memory that a work took."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from activedpo.errors import ActiveDPOError
from app.settings import get_settings

_SELF = Path("/proc/self")
_FORGET_PEAK = "5"  # proc(5): resets VmHWM


def described() -> dict[str, Any]:
    """The accelerator by name, model and bytes of memory; empty where it is not to be had."""
    import torch

    from activedpo.loading import pick_device

    try:
        device = pick_device(get_settings().device)
    except ActiveDPOError:
        return {}  # the work says so, with what to do
    if device.type != "cuda":
        return {"name": str(device)}
    facts = torch.cuda.get_device_properties(device)
    return {"name": str(device), "model": facts.name, "memory_bytes": facts.total_memory}


def forget_peak() -> None:
    """Let the next :func:`peak` be of what comes from now on."""
    import torch

    with suppress(OSError):
        (_SELF / "clear_refs").write_text(_FORGET_PEAK)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for number in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(number)


def peak() -> dict[str, int]:
    """Most bytes since :func:`forget_peak`: of this process, and of tensors on the device."""
    import torch

    found = {}
    with suppress(OSError):
        told = re.search(r"VmHWM:\s+(\d+) kB", (_SELF / "status").read_text())
        if told is not None:
            found["host"] = 1024 * int(told[1])
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        counted = [torch.cuda.max_memory_allocated(n) for n in range(torch.cuda.device_count())]
        found["device"] = max(counted, default=0)
    return found
