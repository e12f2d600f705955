"""What several tests of oracles do."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from worker.oracle import Office


def run_oracle(project_id: uuid.UUID) -> None:
    """Lets the project's oracle work in this thread until it has nothing to do."""
    asyncio.run(Office(f"test:{uuid.uuid4().hex}").attend(project_id))


def labels_by(it: Any) -> list[dict[str, Any]]:
    """The labels as the owner sees them."""
    found: list[dict[str, Any]] = it.client.get(f"{it.at}/preferences").json()["items"]
    return found
