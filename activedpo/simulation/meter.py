"""What a round costs, stage by stage."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator


class Meter:
    """Seconds and completions passed through a model, by stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()

    @contextlib.contextmanager
    def stage(self, name: str, passes: int = 0) -> Iterator[None]:
        """Books what happens inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started  # type: ignore[assignment]
            self.passes[name] += passes

    def figures(self) -> dict[str, float]:
        """`seconds`, `seconds_<stage>`, and `forward_passes`: completions read or written to
        choose the batch (a backward pass is not among them: training is the same for all arms).
        """
        chosen = sum(self.passes[name] for name in ("generate", "score", "entropy", "features"))
        told = {f"seconds_{name}": float(value) for name, value in sorted(self.seconds.items())}
        return {
            "seconds": float(sum(self.seconds.values())),
            **told,
            "forward_passes": float(chosen),
        }
