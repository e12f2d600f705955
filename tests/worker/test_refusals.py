"""What cannot be done fails at once with advice, and ``retry`` goes on once it was followed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from activedpo.testing import tiny_causal_lm, tiny_tokenizer
from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Project, Prompt
from app.rounds import actions
from app.rounds.models import Round
from app.settings import get_settings
from tests.worker.conftest import (
    label_batch,
    make_person,
    one_round,
    open_round,
    round_of,
    runs_of,
)
from worker.device import Device


def change(project_id: UUID, **columns: object) -> None:
    with transaction() as session:
        project = session.get_one(Project, project_id)
        for name, value in columns.items():
            setattr(project, name, value)


def retry(round_id: UUID, device: Device) -> Round:
    with transaction() as session:
        actions.retry(session, session.get_one(Round, round_id))
    device.drain()
    return round_of(round_id)


def no_weights(folder: Path, tiny: str) -> None:
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").unlink()


def small_embedding(folder: Path, _: str) -> None:
    tiny_causal_lm(vocabulary=100).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def pickled(folder: Path, tiny: str) -> None:
    no_weights(folder, tiny)
    (folder / "pytorch_model.bin").write_bytes(b"never read")


def nothing(folder: Path, tiny: str) -> None:
    """No folder at all."""


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (nothing, "check the path"),
        (no_weights, "no *.safetensors weights"),
        (pickled, "convert it with save_pretrained"),
        (small_embedding, "do not belong together"),
    ],
)
def test_a_bad_base_model_fails_the_round_with_advice_and_retry_works(
    project: Callable[..., UUID],
    device: Device,
    tmp_path: Path,
    tiny: str,
    make: Callable[[Path, str], None],
    advice: str,
) -> None:
    make(tmp_path / "bad", tiny)
    project_id = project(base_model=str(tmp_path / "bad"))
    round_id = open_round(project_id)
    device.drain()
    failed = round_of(round_id)
    assert (failed.state, failed.failed_stage) == ("failed", "generating")
    assert advice in str(failed.error)
    assert runs_of(round_id, "generate")[0].attempt == 1  # no use in trying thrice
    change(project_id, base_model=tiny)
    assert retry(round_id, device).state == "labelling"


def test_a_name_that_no_hub_knows(project: Callable[..., UUID], device: Device) -> None:
    round_id = open_round(project(base_model="nobody/no-such-model"))
    device.drain()
    assert "nobody/no-such-model" in str(round_of(round_id).error)


def test_a_tokenizer_without_pad_token_is_no_obstacle(
    project: Callable[..., UUID], device: Device, tmp_path: Path, tiny: str
) -> None:
    shutil.copytree(tiny, tmp_path / "padless")
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "padless")
    done = one_round(project(base_model=str(tmp_path / "padless")), device)
    assert done.state == "done"


def test_a_prompt_longer_than_the_context_is_left_out_and_named(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id = project(long_prompts=1)
    round_id = open_round(project_id)
    device.drain()
    round = round_of(round_id)
    assert (round.state, round.metrics["left_out"], round.metrics["pool"]) == ("labelling", 1, 6)
    (named,) = runs_of(round_id, "generate")[0].output["named"]
    assert "512" in named["reason"]


def test_prompts_all_longer_than_the_context(project: Callable[..., UUID], device: Device) -> None:
    project_id = project(prompts=0, long_prompts=2, pool_size=4)
    round_id = open_round(project_id)
    device.drain()
    round = round_of(round_id)
    assert round.state == "failed"
    assert "context of 512" in str(round.error)


def test_a_training_that_diverges_fails_and_trains_after_a_gentler_rate(
    project: Callable[..., UUID], device: Device, tmp_path: Path, tiny: str
) -> None:
    broken = tmp_path / "broken"
    project_id, person = project(), make_person()
    round_id = open_round(project_id)
    device.drain()
    shutil.copytree(tiny, broken)
    weights = load_file(broken / "model.safetensors")
    save_file(
        {name: tensor * float("nan") for name, tensor in weights.items()},
        broken / "model.safetensors",
        metadata={"format": "pt"},
    )
    change(project_id, base_model=str(broken))
    label_batch(project_id, round_id, person)
    device.drain()
    failed = round_of(round_id)
    assert (failed.state, failed.failed_stage) == ("failed", "training")
    assert "is nan" in str(failed.error)
    change(project_id, base_model=tiny)
    assert retry(round_id, device).state == "done"


def test_a_pair_that_does_not_fit_the_training_is_left_out_and_named(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id = project(prompts=5, training={"max_length": 55}, pool_size=5, batch_size=5)
    change_one_prompt_to(project_id, "a prompt of more than twenty tokens")
    done = one_round(project_id, device)
    assert (done.metrics["trained_pairs"], done.metrics["not_trained"]) == (4, 1)
    assert "max_length is 55" in done.metrics["left_out_named"][0]["reason"]


def change_one_prompt_to(project_id: UUID, content: str) -> None:
    with transaction() as session:
        prompt = session.scalars(
            select(Prompt).where(Prompt.project_id == project_id).limit(1)
        ).one()
        prompt.content = content


def test_an_error_that_nobody_foresaw_is_tried_three_times(
    project: Callable[..., UUID], device: Device
) -> None:
    round_id = open_round(project(generation={"temperature": "hot"}))
    device.drain()
    round = round_of(round_id)
    assert round.state == "failed"
    assert runs_of(round_id, "generate")[0].attempt == 3
    assert "3 attempts" in str(round.error)


def test_a_damaged_policy_fails_the_round_until_it_is_restored(
    project: Callable[..., UUID], device: Device
) -> None:
    project_id, person = project(training={"max_steps": 2}), make_person()
    first = one_round(project_id, device, person)
    home = get_settings().home
    with transaction() as session:
        path = session.scalars(select(Policy.path).where(Policy.round_id == first.id)).one()
    weights = home / "artifacts" / str(path) / "adapter_model.safetensors"
    whole = weights.read_bytes()
    shutil.rmtree(home / "cache")
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    round_id = open_round(project_id)
    device.drain()
    failed = round_of(round_id)
    assert failed.state == "failed"
    assert "damaged" in str(failed.error)
    weights.write_bytes(whole)
    assert retry(round_id, device).state == "labelling"
