"""Policies: who sees them, and that a download loads as it is."""

from __future__ import annotations

import io
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app import artifacts
from app.database import transaction
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds.models import Round

PATH = "projects/p/rounds/1/train-1"


@pytest.fixture
def trained(cast: Any, tmp_path: Path) -> Policy:
    """An adapter on a tiny model, as a round would have made it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from activedpo.loading import load
    from activedpo.testing import tiny_model

    base = tiny_model(tmp_path / "tiny-base", chat=True)
    policy = load(base)
    torch.manual_seed(0)
    model = get_peft_model(policy.model, LoraConfig(r=4, target_modules="all-linear"))
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.5)
    policy.model = model
    policy.save(tmp_path / "adapter")
    path = f"projects/{cast.project_id}/rounds/1/train-1"
    return _published(cast, str(base), path, artifacts.put_folder(tmp_path / "adapter", path))


def _published(cast: Any, base: str, path: str, files: dict[str, Any]) -> Policy:
    with transaction() as session:
        project = session.get_one(Project, cast.project_id)
        round = Round(project_id=project.id, number=1, needed=1, state="done")
        session.add(round)
        session.flush()
        policy = Policy(
            project_id=project.id,
            number=1,
            kind="adapter",
            base_model=base,
            parent_id=project.policy_id,
            round_id=round.id,
            path=path,
            files=files,
            labels=3,
            metrics={"accuracy": 0.75},
        )
        session.add(policy)
        session.flush()
        round.policy_out_id = policy.id
        return policy


def unpacked(answer: Any, folder: Path) -> Path:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


def url(policy: Policy | str) -> str:
    return f"/api/v1/policies/{policy if isinstance(policy, str) else policy.id}/download"


def test_the_lineage_starts_at_the_base(cast: Any) -> None:
    policy = _published(cast, "tiny", PATH, {})
    base, adapter = cast.annotator.get(f"{cast.project}/policies").json()["items"]
    assert (base["number"], base["kind"], base["parent"]) == (0, "base", None)
    assert (adapter["number"], adapter["kind"], adapter["parent"]) == (1, "adapter", base["id"])
    assert adapter["metrics"] == {"accuracy": 0.75}
    assert adapter["labels"] == 3
    assert cast.annotator.get(f"/api/v1/policies/{policy.id}").json() == adapter


def test_the_adapter_and_the_merged_model_load_and_agree(
    cast: Any, trained: Policy, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = unpacked(cast.owner.get(url(trained)), tmp_path / "a")
    base = AutoModelForCausalLM.from_pretrained(trained.base_model)
    tokens = AutoTokenizer.from_pretrained(adapter)("hello there", return_tensors="pt")
    with torch.no_grad():
        plain = base(**tokens).logits
        adapted = PeftModel.from_pretrained(base, adapter).eval()(**tokens).logits
    for _ in range(2):  # the second from the cache
        merged = unpacked(cast.owner.get(f"{url(trained)}?merged=true"), tmp_path / "m")
    with torch.no_grad():
        full = AutoModelForCausalLM.from_pretrained(merged).eval()(**tokens).logits
    assert AutoTokenizer.from_pretrained(merged).chat_template
    assert torch.allclose(full, adapted, atol=1e-4)
    assert not torch.allclose(full, plain, atol=1e-2)
    assert str(tmp_path) not in (adapter / "adapter_config.json").read_text()


def test_the_base_alone_is_not_downloaded_unmerged(cast: Any) -> None:
    (base,) = cast.owner.get(f"{cast.project}/policies").json()["items"]
    answer = cast.owner.get(url(base["id"]))
    assert answer.status_code == 409
    assert "merged=true" in answer.json()["detail"]
    failed = cast.owner.get(f"{url(base['id'])}?merged=true")
    assert failed.status_code == 409  # asked again as it is, it fails again
    assert "Merging failed" in failed.json()["detail"]
    assert "Traceback" not in failed.text


def test_what_the_store_lost_is_said(cast: Any) -> None:
    facts = {"adapter_model.safetensors": {"size": 1, "sha256": "0" * 64}}
    policy = _published(cast, "tiny", PATH, facts)
    answer = cast.owner.get(url(policy))
    assert answer.status_code == 404
    assert "adapter_model.safetensors" in answer.json()["detail"]


def test_who_may_see_and_download(cast: Any, anyone: Any) -> None:
    policy = _published(cast, "tiny", PATH, {})
    one, many = f"/api/v1/policies/{policy.id}", f"{cast.project}/policies"
    for somebody, see, take in (
        (anyone, 401, 401),
        (cast.stranger, 404, 404),
        (cast.annotator, 200, 403),
        (cast.owner, 200, 200),
        (cast.admin, 200, 200),
    ):
        assert somebody.get(many).status_code == see
        assert somebody.get(one).status_code == see
        assert somebody.get(url(policy)).status_code == take
    assert cast.admin.get(url(str(uuid.uuid4()))).status_code == 404
