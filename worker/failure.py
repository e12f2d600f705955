"""What a process says of an error to who started it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from activedpo.errors import ActiveDPOError, Interrupted, OutOfMemory, ran_out_of_memory
from app import artifacts
from worker import storage

MEMORY_ADVICE = (
    "out of memory: lower the training's batch_size or max_length, or the generation's "
    "max_new_tokens, take a smaller base model, or a machine with more memory; then retry"
)


def told(error: Exception) -> dict[str, Any]:
    """``{"failed": message, "final": whether another attempt would end the same way}``."""
    if isinstance(error, Interrupted):
        return {"failed": str(error), "final": False}
    if isinstance(error, OutOfMemory):  # batches were made smaller until one row was too much
        return {"failed": f"out of memory: {error}; then retry", "final": True}
    if isinstance(error, ActiveDPOError | artifacts.DamagedArtifactError):
        return {"failed": str(error), "final": True}
    if ran_out_of_memory(error):
        return {"failed": MEMORY_ADVICE, "final": True}
    if advice := storage.full(error, "the worker's HOME"):
        return {"failed": advice, "final": True}
    traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return {"failed": f"{type(error).__name__} at {place}: {error}"[:2000], "final": False}
