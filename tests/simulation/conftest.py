"""A tiny simulation: a random model, forty prompts, a hidden reward for an oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from activedpo.testing import tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", chat=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with prompts.jsonl, texts.txt, labelled.jsonl and recorded.jsonl."""
    lines = [{"prompt": f"question {i} ?"} for i in range(40)]
    write(tmp_path / "prompts.jsonl", lines)
    (tmp_path / "texts.txt").write_text("".join(f"the {i} film is good\n" for i in range(30)))
    moods = [
        {"text": f"{'good' if i % 2 else 'bad'} {i}", "positive": bool(i % 2)} for i in range(20)
    ]
    write(tmp_path / "labelled.jsonl", moods)
    recorded = [
        {"prompt": f"q {i}", "chosen": "yes " * (1 + i % 3), "rejected": "no " * (1 + i % 2)}
        for i in range(24)
    ]
    write(tmp_path / "recorded.jsonl", recorded)
    return tmp_path


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def config(files: Path, tiny: str) -> Callable[..., Path]:
    """Writes a config with some keys changed; None leaves a key out."""

    def make(**changes: Any) -> Path:
        keys = {
            "policy": tiny,
            "prompts": "prompts.jsonl",
            "strategies": ["random", "certainty"],
            "seeds": [0],
            "labels": [3, 6],
            "pool_factor": 3,
            "oracle": {"kind": "reward"},
            "max_new_tokens": 6,
            "eval_prompts": 6,
            "learning_rate": 3e-3,
            "epochs": 1,
            "lora": 2,
        } | changes
        file = files / "config.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in keys.items() if v is not None}))
        return file

    return make
