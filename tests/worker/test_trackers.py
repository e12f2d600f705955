"""Training curves in TensorBoard's files, as accelerate writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from pydantic import ValidationError

from app.settings import Settings, get_settings
from tests.worker.conftest import one_round
from worker.device import Device
from worker.trackers import Curves

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture
def tracked(settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A worker's loop whose child was told of TensorBoard."""
    monkeypatch.setenv("ACTIVEDPO_TRACKERS", " tensorboard ")
    get_settings.cache_clear()
    made = Device()
    yield made
    made.stop()
    made.accelerator.close()


def test_each_step_of_a_training_is_in_the_files(
    project: Callable[..., UUID], tracked: Device
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    project_id = project(training={"max_steps": 4, "checkpoint_every": 2})
    round = one_round(project_id, tracked)
    assert round.state == "done", round.error
    run = get_settings().home / "tracking" / "projects" / str(project_id) / "rounds/1/train-1"
    read = EventAccumulator(str(run))
    read.Reload()
    found = {point.step: point.value for point in read.Scalars("loss")}
    wanted = {int(step["step"]): step["loss"] for step in round.metrics["steps"]}
    assert found == pytest.approx(wanted)
    assert set(found) == {1, 2, 3, 4}
    assert {"loss", "accuracy", "margin", "tokens"} <= set(read.Tags()["scalars"])


def test_a_tracker_that_cannot_write_holds_nobody_up(
    tracked: Device, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = get_settings().home / "tracking"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(folder.with_name("tracking-before"))
    folder.write_text("a file where a folder should be")
    try:
        curves = Curves("projects/p/rounds/1/train-1", {"lora": 4})
        curves(1, {"loss": 0.5, "step": 1})
        curves.finish()
    finally:
        folder.unlink()
    assert "tracker_failed" in "".join(capfd.readouterr())


def test_one_that_fails_half_way_is_told_no_more(tracked: Device) -> None:
    class Broken:
        name = "broken"
        told = 0

        def log(self, *_: object, **__: object) -> None:
            self.told += 1
            raise ConnectionError("gone")

    curves, broken = Curves("projects/p/rounds/1/train-2", {}), Broken()
    curves._trackers.append(broken)
    curves(1, {"loss": 0.5})
    curves(2, {"loss": 0.4})
    curves.finish()
    assert broken.told == 1


def test_a_name_that_is_none_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVEDPO_TRACKERS", "tensorboard,excel")
    with pytest.raises(ValidationError, match="excel: unknown"):
        Settings()
    monkeypatch.setenv("ACTIVEDPO_TRACKERS", "tensorboard, mlflow")
    assert Settings().tracker_names == ["tensorboard", "mlflow"]
