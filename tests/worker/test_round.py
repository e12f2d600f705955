"""Whole rounds on the tiny model: through a real Celery worker, and through its loop alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select

import activedpo as ad
from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt
from app.rounds.models import Round
from app.rounds.training_set import training_set
from app.settings import get_settings
from tests.worker.conftest import (
    Worker,
    label_batch,
    make_person,
    one_round,
    open_round,
    round_of,
    runs_of,
    wait_state,
)
from worker.device import Device
from worker.generate import library_pair


def policies_of(project_id: UUID) -> list[Policy]:
    with transaction() as session:
        query = select(Policy).where(Policy.project_id == project_id).order_by(Policy.number)
        return list(session.scalars(query))


def folder_of(policy: Policy) -> Path:
    return Path(get_settings().home / "artifacts" / str(policy.path))


def pairs_of(round_id: UUID) -> list[Pair]:
    with transaction() as session:
        return list(session.scalars(select(Pair).where(Pair.round_id == round_id)))


def test_two_rounds_from_prompts_to_policies_by_celery(
    project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    project_id, person = project(prompts=8, evals=2, batch_size=6), make_person()
    worker = start_worker()
    first = open_round(project_id)
    label_batch(project_id, first, person)
    done = wait_state(first, "done")
    base, trained = policies_of(project_id)
    assert done.policy_out_id == trained.id
    for kind, stage in {"generate": "generating", "train": "training"}.items():
        (run,) = runs_of(first, kind)
        assert run.started_at is not None
        assert run.finished_at is not None
        clock, held = run.output["clock"], run.finished_at - run.started_at
        assert 0 < clock["reached"][stage] <= clock["seconds"] <= held.total_seconds()
    assert (trained.number, trained.kind, trained.parent_id) == (1, "adapter", base.id)
    assert done.metrics["train_accuracy"] > 0.9
    assert done.metrics["accuracy_before"] is None  # π_0 guesses nothing
    assert done.metrics["new_labels"] == 6
    assert done.metrics["win_rate"] is None
    assert "judge" in done.metrics["win_rate_reason"]
    assert done.metrics["kl"] > 0
    assert len(worker.children()) == 1

    second = open_round(project_id)
    label_batch(project_id, second, person)
    done = wait_state(second, "done")
    assert done.policy_in_id == trained.id
    assert done.metrics["acquisition"] == "certainty"
    assert 0 <= done.metrics["accuracy_before"] <= 1
    assert done.metrics["trained_pairs"] == 12  # the paper: all labels so far, from π_0
    assert done.metrics["new_labels"] == 6
    with transaction() as session:
        used = session.scalars(select(Prompt.times_used).where(Prompt.split == "train"))
        assert set(used) == {2}
    assert worker.stop() == 0


def test_the_trained_policy_prefers_what_people_chose(
    project: Callable[..., UUID], device: Device, tiny: str
) -> None:
    project_id = project()
    round = one_round(project_id, device)
    policy = ad.load(tiny, adapter=folder_of(policies_of(project_id)[1]))
    with transaction() as session:
        labelled = training_set(session, session.get_one(Round, round.id))
        pairs = [library_pair(item.pair, chat(item.prompt_content)) for item in labelled]
    scores = ad.score_pairs(policy, pairs)
    right = [(m > 0) == (item.p > 0.5) for m, item in zip(scores.margin, labelled, strict=True)]
    assert len(right) == 4
    assert np.mean(right) > 0.9


def test_the_adapter_in_plain_peft_gives_the_worker_s_log_probs(
    project: Callable[..., UUID], device: Device, tiny: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    project_id = project()
    one_round(project_id, device)
    second = open_round(project_id)
    device.drain()
    base = AutoModelForCausalLM.from_pretrained(tiny)
    plain = PeftModel.from_pretrained(base, folder_of(policies_of(project_id)[1])).eval()
    pairs = pairs_of(second)
    assert len(pairs) == 6
    for pair in pairs:
        completion = [*(pair.tokens_a or []), *[1] * pair.finished_a]
        tokens = torch.tensor([[*(pair.tokens_prompt or []), *completion]])
        with torch.no_grad():
            logp = plain(tokens).logits.float().log_softmax(-1)[0, :-1]
        taken = logp.gather(1, tokens[0, 1:, None])[-len(completion) :, 0]
        assert pair.logp_a == pytest.approx(float(taken.sum()), abs=1e-3)
        assert pair.scored_by == round_of(second).policy_in_id


def test_the_adapter_names_the_hub_id_of_its_base(
    project: Callable[..., UUID], device: Device, tiny: str
) -> None:
    kept = get_settings().models_dir / "somebody" / "tiny"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(tiny)
    project_id = project(base_model="somebody/tiny")
    one_round(project_id, device)
    config = json.loads((folder_of(policies_of(project_id)[1]) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "somebody/tiny"


def test_a_next_round_opens_by_itself_where_the_project_says_so(
    project: Callable[..., UUID], device: Device
) -> None:
    round = one_round(project(auto_next=True, training={"max_steps": 1}), device)
    with transaction() as session:
        second = session.scalars(select(Round).where(Round.number == 2)).one()
    assert second.state == "labelling"
    assert second.policy_in_id == round.policy_out_id


def test_shards_together_make_one_pool(
    project: Callable[..., UUID],
    start_worker: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(get_settings(), "shard_prompts", 3)
    round_id = open_round(project(prompts=8))
    start_worker()
    start_worker()
    wait_state(round_id, "labelling")
    assert [run.state for run in runs_of(round_id, "generate")] == ["done"] * 3
    assert len(pairs_of(round_id)) == 8


def chat(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("training", "kind"),
    [
        ({"lora": 0, "learning_rate": 1e-3}, "full"),
        ({"lora": 0, "learning_rate": 1e-3, "reset": "continue"}, "full"),
        ({"reset": "continue"}, "adapter"),
        ({"trainer": "trl", "epochs": 4}, "adapter"),
    ],
)
def test_other_ways_of_training(
    project: Callable[..., UUID], device: Device, training: dict[str, object], kind: str
) -> None:
    project_id, person = project(training=training), make_person()
    for _ in range(2):
        done = one_round(project_id, device, person)
    made = policies_of(project_id)
    assert [policy.kind for policy in made[1:]] == [kind] * 2
    with transaction() as session:
        assert session.get_one(Project, project_id).policy_id == made[-1].id
    assert done.metrics["kl"] > 0
    assert done.metrics["accuracy_before"] is not None


def test_continuing_starts_where_the_last_policy_ended(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id, person = project(training={"reset": "continue"}), make_person()
    first = one_round(project_id, device, person)
    second = one_round(project_id, device, person)
    # the labels of round 1 are fitted already, and the reference is π_0 still: were it the last
    # policy, every margin would begin at 0
    start = second.metrics["steps"][0]
    assert first.metrics["steps"][0]["margin"] == pytest.approx(0, abs=1e-4)
    assert start["margin"] > 0.1


def test_the_judge_compares_with_the_base_on_held_out_prompts(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id = project(evals=3, judge={"kind": "length"})
    metrics = one_round(project_id, device).metrics
    assert metrics["eval_held_out"] is True
    assert metrics["judged"] + metrics["abstained"] == 3
    if metrics["win_rate"] is not None:
        assert metrics["win_rate_low"] <= metrics["win_rate"] <= metrics["win_rate_high"]


def test_an_unknown_judge_leaves_the_win_rate_open_and_says_why(
    project: Callable[..., UUID], device: Device
) -> None:
    metrics = one_round(project(evals=1, judge={"kind": "oracle of Delphi"}), device).metrics
    assert metrics["win_rate"] is None
    assert "Delphi" in metrics["win_rate_reason"]
