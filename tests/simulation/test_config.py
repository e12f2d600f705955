"""Every mistake in a config is named by its key, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from activedpo.simulation.config import Fit, InvalidConfig, check_config, read_config
from app.cli import build, explain

Make = Callable[..., Path]

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"bogus": 1}, "bogus: unknown key"),
    ({"policy": None}, "policy: Field required"),
    ({"policy": 3}, "policy: "),
    ({"policy": "/no/such/folder"}, "policy: no model folder"),
    ({"policy": {"fit": "texts.txt", "wide": 9}}, "policy.wide: unknown key"),
    ({"policy": {"fit": "texts.txt", "layers": "two"}}, "policy.layers: "),
    ({"policy": {"fit": "texts.txt", "width": 100, "heads": 3}}, "width (100)"),
    ({"policy": {"fit": "none.txt"}}, "policy.fit: no file 'none.txt'"),
    ({"prompts": None}, "prompts: a file is needed"),
    ({"prompts": "none.jsonl"}, "prompts: no file 'none.jsonl'"),
    ({"prompts": 3}, "prompts: "),
    ({"strategies": ["random", "cleverness"]}, "strategies.1: unknown acquisition 'cleverness'"),
    ({"strategies": []}, "strategies: "),
    ({"strategies": "random"}, "strategies: "),
    ({"strategies": ["random", "random"]}, "strategies: named twice: random"),
    ({"seeds": ["one"]}, "seeds.0: "),
    ({"seeds": [-1]}, "seeds.0: "),
    ({"seeds": 0}, "seeds: "),
    ({"labels": [6, 3]}, "labels: must grow"),
    ({"labels": [0]}, "labels.0: "),
    ({"labels": 3}, "labels: "),
    ({"labels": [3.5]}, "labels.0: "),
    ({"pool_factor": 0.5}, "pool_factor: "),
    ({"lora": -1}, "lora: "),
    ({"lora": 1.5}, "lora: "),
    ({"reset": "sometimes"}, "reset: "),
    ({"oracle": {"kind": "oracular"}}, "oracle.kind: unknown 'oracular'"),
    ({"oracle": {"kind": "length", "preferred": 1}}, "oracle.preferred: unknown key"),
    ({"oracle": {"kind": "length", "prefer": "wider"}}, "oracle: prefer must be"),
    ({"oracle": {"least": 0.1}}, "oracle.kind: Field required"),
    ({"oracle": {"kind": "classifier", "fit": "none.jsonl"}}, "oracle.fit: no file"),
    ({"oracle": {"kind": "classifier", "fit": "texts.txt"}}, "oracle.fit: line 1 needs"),
    ({"judge": {"kind": "regex", "pattern": "("}}, "judge: pattern: "),
    ({"judge": {"kind": "reward", "scale": 0}}, "judge: scale must be positive"),
    ({"noise": 0.7}, "noise.flips: "),
    ({"noise": {"flip": 0.1}}, "noise.flip: unknown key"),
    ({"beta": 0}, "beta: "),
    ({"beta": "high"}, "beta: "),
    ({"learning_rate": "3e-4x"}, "learning_rate: "),
    ({"learning_rate": float("nan")}, "learning_rate: "),
    ({"epochs": True}, "epochs: "),
    ({"temperature": 0}, "temperature: "),
    ({"prompt_tokens": [9, 3]}, "prompt_tokens: [low, high]"),
    ({"cold_start": "warm"}, "cold_start: "),
    ({"prune": [0.1]}, "prune: "),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=lambda x: str(x)[:60])
def test_a_wrong_key_is_named_and_nothing_is_written(
    changes: dict[str, Any], told: str, config: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(build(), ["simulate", str(config(**changes)), "--out", str(out)])
    assert result.exception is not None
    failure = explain(result.exception)  # type: ignore[arg-type]
    assert failure is not None, result.exception
    assert failure.code == 2
    assert told in str(failure)
    assert not out.exists()


def test_all_mistakes_are_told_at_once(config: Make) -> None:
    with pytest.raises(InvalidConfig, match=r"bogus.*") as error:
        read_config(config(bogus=1, labels=[2, 1]))
    assert "labels: must grow" in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("- a\n- b\n", "must be a mapping"), ("a: [", "is no YAML"), ("", "must be a mapping")],
)
def test_a_file_that_is_no_config(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(InvalidConfig, match=told):
        read_config(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_numbers_with_an_exponent_are_numbers(config: Make) -> None:
    """YAML 1.1, which PyYAML reads, takes 3e-4 for text."""
    file = config()
    file.write_text(file.read_text().replace("learning_rate: 0.003", "learning_rate: 3e-4"))
    assert read_config(file).learning_rate == 3e-4


def test_short_forms(config: Make) -> None:
    found = read_config(config(oracle="length", noise=0.1, seeds=3, reset=False))
    assert found.oracle.kind == "length"
    assert found.noise.flips == 0.1
    assert found.seeds == [0, 1, 2]
    assert found.reset == "continue"
    assert found.judged_by == found.oracle
    assert found.steps == [3, 3]


def test_files_are_found_beside_the_config_and_by_the_environment(
    config: Make, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_config(config()).prompts == str((files / "prompts.jsonl").resolve())
    monkeypatch.setenv("SNIPPETS", str(files))
    found = read_config(config(policy={"fit": "$SNIPPETS/texts.txt"}))
    assert isinstance(found.policy, Fit)
    assert found.policy.fit == str((files / "texts.txt").resolve())


def test_recorded_labels_need_no_prompts(config: Make) -> None:
    assert read_config(config(prompts=None), recorded=True).prompts is None


def test_a_config_needs_no_file(tiny: str, files: Path) -> None:
    found = check_config(
        {"policy": tiny, "prompts": "prompts.jsonl", "strategies": ["random"], "labels": [2]}, files
    )
    assert found.seeds == [0]
    assert found.oracle.kind == "sentiment"
