"""Which errors are a lack of memory, and which only speak of it."""

from __future__ import annotations

import pytest
import torch

from activedpo.errors import OutOfMemory, ran_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
        OutOfMemory("row 3"),
    ],
)
def test_a_lack_of_memory_is_told_by_what_is_said(error: Exception) -> None:
    assert ran_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unsupported memory format option Contiguous"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("out of memory"),
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_that_speak_of_memory_are_not_tried_again(error: Exception) -> None:
    assert not ran_out_of_memory(error)
