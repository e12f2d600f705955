"""Loading says what is wrong and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import activedpo as ad
from activedpo.errors import (
    DeviceUnavailable,
    ModelMismatch,
    ModelNotFound,
    NoWeights,
    TokenizerMismatch,
)
from activedpo.loading import LARGEST_TOKENIZER_FILE, Policy, neutral_name
from activedpo.testing import tiny_causal_lm, tiny_tokenizer
from activedpo.trainable import trainable_copy


def copied(folder: str, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_policy_is_ready_to_use(policy: Policy) -> None:
    assert policy.dtype == torch.float32
    assert policy.device.type == "cpu"
    assert policy.chat
    assert policy.context == 512
    assert not policy.model.training
    assert not any(p.requires_grad for p in policy.model.parameters())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        ad.load(tmp_path / "nowhere")


def test_an_unknown_hub_name_is_named() -> None:
    with pytest.raises(ModelNotFound, match="nobody/nothing"):
        ad.load("nobody/nothing")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        ad.load(tmp_path)


def test_a_folder_without_weights(model_folder: Callable[..., str], tmp_path: Path) -> None:
    folder = copied(model_folder(), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(NoWeights, match=r"no \*\.safetensors"):
        ad.load(folder)


def test_pickled_weights_are_not_read(model_folder: Callable[..., str], tmp_path: Path) -> None:
    folder = copied(model_folder(), tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(NoWeights, match=r"pytorch_model\.bin: convert"):
        ad.load(folder)


def test_a_broken_weight_file(model_folder: Callable[..., str], tmp_path: Path) -> None:
    folder = copied(model_folder(), tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ModelMismatch, match="cannot be loaded"):
        ad.load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "vocab.json"])
def test_a_file_of_a_tokenizer_that_fills_the_memory_is_not_read(
    model_folder: Callable[..., str], tmp_path: Path, name: str
) -> None:
    folder = copied(model_folder(), tmp_path / "m")
    with (folder / name).open("ab") as file:
        file.truncate(LARGEST_TOKENIZER_FILE + 1)  # a hole: it takes no disk
    with pytest.raises(ModelMismatch, match=f"{name} of .* 134,217,729 bytes"):
        ad.load(folder)


def test_code_of_the_model_is_never_run(model_folder: Callable[..., str], tmp_path: Path) -> None:
    folder = copied(model_folder(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "its_own"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelMismatch):
        ad.load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    tiny_causal_lm(vocabulary=100).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(TokenizerMismatch, match="embeds only 100"):
        ad.load(tmp_path)


def test_a_tokenizer_without_pad_token(tmp_path: Path) -> None:
    tiny_causal_lm().save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    policy = ad.load(tmp_path)
    pairs = [ad.Pair("ab", "c", "dddd"), ad.Pair("a", "cc", "d")]
    together, alone = ad.score_pairs(policy, pairs), ad.score_pairs(policy, pairs[1:])
    assert together.logp_a[1] == pytest.approx(alone.logp_a[0], rel=1e-5)


def test_a_tokenizer_without_end_token(tmp_path: Path) -> None:
    tiny_causal_lm().save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelMismatch, match="end token"):
        ad.load(tmp_path)


def test_a_device_that_is_not_there(model_folder: Callable[..., str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceUnavailable, match="device='cpu'"):
        ad.load(model_folder(), device="cuda")
    with pytest.raises(DeviceUnavailable, match="none that torch knows"):
        ad.load(model_folder(), device="warp")


def test_a_dtype_by_name(model_folder: Callable[..., str]) -> None:
    assert ad.load(model_folder(), dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ValueError, match="int8"):
        ad.load(model_folder(), dtype="int8")


def test_an_adapter_comes_back_as_it_was(
    policy: Policy, model_folder: Callable[..., str], tmp_out: Path
) -> None:
    trained = trainable_copy(policy, lora=4, seed=0)
    with torch.no_grad():
        for name, weight in trained.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    trained.save(tmp_out, base_name="org/base")
    pairs = [ad.Pair("ab", "cd", "ef")]
    expected = ad.score_pairs(trained, pairs).logp_a
    for loaded in (
        ad.load(model_folder(), adapter=tmp_out),
        ad.load(model_folder(), adapter=str(tmp_out)),
    ):
        assert ad.score_pairs(loaded, pairs).logp_a == pytest.approx(expected, rel=1e-6)
    config = json.loads((tmp_out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"


def test_nothing_saved_names_a_path_of_this_machine(policy: Policy, tmp_out: Path) -> None:
    trainable_copy(policy, lora=4, seed=0).save(tmp_out / "adapter")
    trainable_copy(policy, lora=0, seed=0).save(tmp_out / "full")
    for file in tmp_out.rglob("*"):
        if file.is_file():
            assert str(Path(policy.name).parent).encode() not in file.read_bytes(), file


def test_an_adapter_of_another_model(
    policy: Policy, make_policy: Callable[..., Policy], tmp_out: Path
) -> None:
    trainable_copy(policy, lora=4, seed=0).save(tmp_out)
    other = make_policy(hidden_size=48)
    with pytest.raises(ModelMismatch, match="does not fit"):
        ad.load(other.name, adapter=tmp_out)


def test_an_adapter_folder_alone_names_its_base(
    policy: Policy, tmp_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable_copy(policy, lora=4, seed=0).save(tmp_out, base_name=Path(policy.name).name)
    monkeypatch.chdir(Path(policy.name).parent)
    assert ad.load(tmp_out).has_adapter


@pytest.mark.parametrize(
    ("name", "neutral"),
    [
        ("org/model", "org/model"),
        ("gpt2", "gpt2"),
        ("/home/someone/models/mine", "mine"),
        ("a/b/c/mine", "mine"),
    ],
)
def test_neutral_names(name: str, neutral: str) -> None:
    assert neutral_name(name) == neutral
