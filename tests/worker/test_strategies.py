"""Each strategy through the product: a whole round, and a second one that it chose for itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select

from activedpo import acquisition
from app.database import transaction
from app.policies.models import Policy
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
    if wanted.needs_margin:
        assert "every margin is 0" in first.metrics["acquisition_note"]
    elif wanted.needs_past:
        assert "learns from labels" in first.metrics["acquisition_note"]


def test_what_the_policy_is_sure_of_is_trained_on_and_counted_apart(
    project: Callable[..., UUID], device: Device
) -> None:
    training = {"lora": 4, "learning_rate": 1e-3, "batch_size": 4, "gate": 0.5000001}
    project_id = project(prompts=8, batch_size=3, pool_size=8, training=training)
    person = make_person()
    first = one_round(project_id, device, person)
    assert first.metrics["pseudo_labels"] == 0
    second = one_round(project_id, device, person)
    assert second.state == "done", second.error
    assert second.metrics["pseudo_labels"] > 0
    assert second.metrics["trained_pairs"] == 6 + second.metrics["pseudo_labels"]
    with transaction() as session:
        assert session.get_one(Policy, second.policy_out_id).labels == 6
        pool = session.scalars(select(Pair).where(Pair.round_id == second.id)).all()
    for pair in pool:
        assert pair.logp_a is not None
        assert pair.logp_b is not None
        # what ended by itself was scored with its end token
        tokens = (
            len(pair.tokens_a or ()) + pair.finished_a + len(pair.tokens_b or ()) + pair.finished_b
        )
        assert pair.perplexity == pytest.approx(math.exp(-(pair.logp_a + pair.logp_b) / tokens))
