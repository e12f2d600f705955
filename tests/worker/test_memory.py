"""Memory that runs out on the accelerator: a batch shrinks until it fits; where nothing fits, the
round fails and says so, and a retry goes on once there is more.

The device's real loop, model and trainer; only the allocator's refusal is made up, in the place
where torch raises it, and so the child's work is done in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
import torch

import activedpo.packed
import activedpo.scoring
from tests.worker.conftest import make_person, open_round, round_of, runs_of
from tests.worker.test_storage import failed_plainly, policies, ready_to_train, retried, trained
from worker import accelerator, child
from worker.device import Device
from worker.loaded import Models
from worker.report import Report


class Here(accelerator.Accelerator):
    """The child's work in this process, by the child's own code."""

    def __init__(self) -> None:
        super().__init__()
        self._models = Models()

    def run(self, kind: str, work: bytes, progress: Callable[[dict[str, Any]], None]) -> bytes:
        class Pipe:
            def send_bytes(self, message: bytes) -> None:
                progress(orjson.loads(message)["progress"])

        head, *outcome = child._do(kind, work, self._models, Report(Pipe()))  # type: ignore[arg-type]
        said = orjson.loads(head)
        if "done" not in said:
            raise accelerator._failure(said)
        self.clock = said["done"]
        return bytes(outcome[0])


@pytest.fixture
def here() -> Iterator[Device]:
    """A device whose accelerator is this process."""
    made = Device()
    made.accelerator = Here()
    yield made
    made.stop()


class Memory:
    """Fits ``rows`` rows of a training batch at a time; None: all that come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: int | None = None
        self.seen: list[int] = []
        logp = activedpo.packed.Pass.forward
        memory = self

        def limited(step: Any, rows: list[Any]) -> torch.Tensor:
            memory.seen.append(len(rows))
            if memory.rows is not None and len(rows) > memory.rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return logp(step, rows)

        monkeypatch.setattr(activedpo.packed.Pass, "forward", limited)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """How much there is for training."""
    return Memory(monkeypatch)


def test_a_batch_that_does_not_fit_is_made_smaller_and_the_round_goes_on(
    project: Callable[..., UUID], here: Device, memory: Memory
) -> None:
    round_id = ready_to_train(project, here)
    memory.rows = 1
    done = trained(round_id, here)
    assert done.state == "done", done.error
    assert max(memory.seen) > 1
    assert memory.seen[-1] == 1
    assert len(policies(round_id)) == 1
    assert runs_of(round_id, "train")[0].attempt == 1


def test_where_not_even_one_row_fits_the_round_fails_at_once_and_a_retry_goes_on(
    project: Callable[..., UUID], here: Device, memory: Memory
) -> None:
    round_id = ready_to_train(project, here)
    memory.rows = 0
    failed_plainly(trained(round_id, here), "memory")
    memory.rows = None
    assert retried(round_id, here).state == "done"
    assert len(policies(round_id)) == 1


def test_where_scoring_does_not_fit_the_round_fails_at_once_and_a_retry_goes_on(
    project: Callable[..., UUID], here: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_person()
    round_id = open_round(project())

    def none_left(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(child.generate.ad, "score_pairs", none_left)
        here.drain()
    failed = round_of(round_id)
    assert (failed.state, failed.failed_stage) == ("failed", "generating")
    assert "out of memory" in str(failed.error)
    assert "then retry" in str(failed.error)
    assert retried(round_id, here).state == "labelling"
