"""When, how and on what a result was taken."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
from pathlib import Path
from typing import Any


def conditions() -> dict[str, Any]:
    """What a benchmark of the product writes beside its figures."""
    return {
        "taken_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": command(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
    }


def command() -> str:
    """As it was typed; of paths the last part: where they lie is this machine's business."""
    name = Path(sys.argv[0]).stem
    module = "bench" if name == "__main__" else f"bench.{name}"
    return " ".join(["python -m", module, *(Path(word).name for word in sys.argv[1:])])
