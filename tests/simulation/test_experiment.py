"""The experiment runner and its table, on a tiny experiment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.label_efficiency import experiment, table
from bench.label_efficiency.prepare import prepare
from tests.simulation.conftest import write


@pytest.fixture
def snippets(tmp_path: Path) -> Path:
    rows = [
        {"text": f"film {i} is {'good' if i % 2 else 'bad'} and long", "positive": bool(i % 2)}
        for i in range(100)
    ]
    return write(tmp_path / "snippets.jsonl", [*rows, rows[0]])


def test_no_text_is_in_two_parts(snippets: Path, tmp_path: Path) -> None:
    counts = prepare(snippets, tmp_path / "parts")
    parts = {name: _rows(tmp_path / "parts" / f"{name}.jsonl") for name in counts}
    held = [row["prompt"] for row in parts["prompts"] if row.get("split") == "eval"]
    texts = [row["text"] for name in ("policy", "oracle", "judge") for row in parts[name]] + held
    assert len(texts) == len(set(texts)) == 100
    assert {row["prompt"] for row in parts["prompts"]} - set(held) == {
        row["text"] for row in parts["policy"]
    }


def test_an_experiment_leaves_results_that_a_table_is_made_of(
    snippets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "bench"
    (home / "configs").mkdir(parents=True)
    source = experiment.HERE / "configs" / "imdb_small.yaml"
    (home / "configs" / "tiny.yaml").write_text(_tiny(source.read_text(encoding="utf-8")))
    monkeypatch.setattr(experiment, "HERE", home)
    monkeypatch.setattr(table, "HERE", home / "results")
    arguments = ["tiny", "--snippets", str(snippets), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    monkeypatch.setenv("SNIPPETS", "")
    experiment.main()
    about = json.loads((home / "results" / "tiny" / "about.json").read_text())
    assert about["seeds_finished"] == about["seeds_planned"] == 2
    assert len(about["wall_seconds_by_seed"]) == 2
    assert about["policy"]["texts"] == 38
    for file in (home / "results" / "tiny").glob("*.[jh]*"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8")
    table.main()
    page = (home / "results" / "README.md").read_text(encoding="utf-8")
    assert "| certainty |" in page
    assert "2 of 2 planned seeds" in page
    assert ".670 (.012)" in page


def _rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _tiny(config: str) -> str:
    changes = {
        "policy": "{fit: $SNIPPETS/policy.jsonl, steps: 3, width: 16, heads: 2, layers: 1}",
        "prompt_tokens": "[2, 4]",
        "max_new_tokens": "4",
        "eval_prompts": "5",
        "seeds": "[0, 1]",
        "labels": "[2, 4]",
        "pool_factor": "3",
        "epochs": "1",
    }
    lines = [line for line in config.splitlines() if line.split(":")[0] not in changes]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())])
