"""Each strategy through the product: a whole round, and a second one that it chose for itself."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select

from activedpo import acquisition
from app.database import transaction
from app.projects.models import Pair
from tests.worker.conftest import make_person, one_round
from worker.device import Device


@pytest.mark.parametrize("name", acquisition.names())
def test_it_chooses_two_rounds(name: str, project: Callable[..., UUID], device: Device) -> None:
    project_id = project(prompts=8, batch_size=3, pool_size=8, acquisition=name)
    person = make_person()
    first = one_round(project_id, device, person)
    assert first.state == "done", first.error
    second = one_round(project_id, device, person)
    assert second.state == "done", second.error
    assert second.metrics["acquisition"] == name
    assert second.metrics["trained_pairs"] == 6
    wanted = acquisition.strategy(name)
    with transaction() as session:
        features = session.scalars(
            select(Pair.features).where(Pair.round_id == second.id, Pair.state != "equal")
        ).all()
    assert all((row is not None) == bool(wanted.features) for row in features)
    if wanted.needs_past:
        assert "learns from labels" in first.metrics["acquisition_note"]
