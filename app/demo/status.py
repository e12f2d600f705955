"""How far the demo has come, for ``/readyz`` and the pages: HOME/run/demo.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from app.stack.home import write_private

Stage = Literal["fetching", "converting", "seeding", "done", "failed"]


@dataclass(frozen=True)
class Status:
    """One report of the demo's preparation; ``message`` says it in a sentence."""

    stage: Stage
    message: str
    done: int = 0
    total: int = 0


def write(home: Path, status: Status) -> None:
    """Publish ``status``."""
    write_private(home / "run" / "demo.json", json.dumps(asdict(status)))


def read(home: Path) -> Status | None:
    """The last report, or None before the first."""
    try:
        return Status(**json.loads((home / "run" / "demo.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
