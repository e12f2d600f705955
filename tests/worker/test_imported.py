"""Completions that exist already: scored as they are, selected, trained on."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select

import activedpo as ad
from app.database import transaction
from app.projects.models import Pair, Prompt
from tests.worker.conftest import label_batch, make_person, one_round, open_round, round_of
from worker.device import Device


def import_pairs(project_id: UUID, extra: list[tuple[str, str]] | None = None) -> None:
    """One pair a prompt, as the import would store them; ``extra`` pairs on the first."""
    with transaction() as session:
        prompts = session.scalars(
            select(Prompt).where(Prompt.project_id == project_id).order_by(Prompt.id)
        ).all()
        texts = [(p, f"one of {n}", f"another, {n}") for n, p in enumerate(prompts)]
        texts += [(prompts[0], a, b) for a, b in extra or []]
        session.add_all(
            Pair(
                project_id=project_id,
                prompt_id=prompt.id,
                completion_a=a,
                completion_b=b,
                content_hash=f"{prompt.id}{a[:20]}{b[:20]}",
            )
            for prompt, a, b in texts
        )


def pairs_of(project_id: UUID) -> list[Pair]:
    with transaction() as session:
        return list(session.scalars(select(Pair).where(Pair.project_id == project_id)))


@pytest.mark.parametrize("acquisition", ["certainty", "entropy", "entropy_certainty"])
def test_two_rounds_over_imported_pairs(
    project: Callable[..., UUID], device: Device, acquisition: str
) -> None:
    project_id = project(
        prompts=10, source="imported", acquisition=acquisition, batch_size=3, pool_size=None
    )
    import_pairs(project_id)
    person = make_person()
    first = one_round(project_id, device, person)
    assert first.state == "done"
    second = open_round(project_id)
    device.drain()
    pool = [pair for pair in pairs_of(project_id) if pair.round_id == second]
    assert len(pool) == 7
    assert all(pair.scored_by == first.policy_out_id for pair in pool)
    opened = [pair for pair in pool if pair.state == "open"]
    assert len(opened) == 3
    if acquisition == "certainty":
        sure = sorted((abs(pair.margin or 0) for pair in pool), reverse=True)
        assert sorted((abs(pair.margin or 0) for pair in opened), reverse=True) == sure[:3]
    if acquisition == "entropy":
        unsure = sorted((pair.entropy or 0 for pair in pool), reverse=True)
        assert sorted((pair.entropy or 0 for pair in opened), reverse=True) == unsure[:3]
    label_batch(project_id, second, person)
    device.drain()
    done = round_of(second)
    assert done.metrics["trained_pairs"] == 6
    # the entropy strategy reads no margins, but the scores are there: the guess is for nothing
    assert done.metrics["guessed"] == 3


def test_scores_are_those_of_the_library(
    project: Callable[..., UUID], device: Device, tiny: str
) -> None:
    project_id = project(prompts=4, source="imported", system_prompt="Be kind.")
    import_pairs(project_id)
    open_round(project_id)
    device.drain()
    policy = ad.load(tiny)
    with transaction() as session:
        contents = {prompt.id: prompt.content for prompt in session.scalars(select(Prompt))}
    for pair in pairs_of(project_id):
        messages = [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": contents[pair.prompt_id]},
        ]
        expected = ad.score_pairs(policy, [ad.Pair(messages, pair.completion_a, pair.completion_b)])
        assert pair.ref_logp_a == pytest.approx(float(expected.ref_logp_a[0]), abs=1e-3)
        assert pair.logp_b == pytest.approx(float(expected.logp_b[0]), abs=1e-3)


def test_plain_text_where_the_project_says_chat_off(
    project: Callable[..., UUID], device: Device, tiny: str
) -> None:
    project_id = project(prompts=4, source="imported", chat="off")
    import_pairs(project_id)
    open_round(project_id)
    device.drain()
    policy = ad.load(tiny)
    with transaction() as session:
        contents = {prompt.id: prompt.content for prompt in session.scalars(select(Prompt))}
    pair = pairs_of(project_id)[0]
    plain = ad.Pair(contents[pair.prompt_id], pair.completion_a, pair.completion_b)
    expected = ad.score_pairs(policy, [plain])
    assert pair.logp_a == pytest.approx(float(expected.logp_a[0]), abs=1e-3)
    assert np.isfinite(pair.logp_a or np.nan)


def test_pairs_that_cannot_be_asked_about_are_set_aside(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id = project(prompts=4, source="imported", pool_size=None)
    import_pairs(project_id, extra=[("too long " * 100, "short"), ("the same", "the same")])
    round_id = open_round(project_id)
    device.drain()
    round = round_of(round_id)
    assert (round.state, round.metrics["left_out"], round.metrics["pool"]) == ("labelling", 1, 4)
    states = sorted(pair.state for pair in pairs_of(project_id))
    assert states == ["dropped", "equal", "open", "open", "open", "open"]
