"""The experiment runner and its table, on a tiny experiment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from activedpo import acquisition
from activedpo.acquisition.base import Past, Pool
from bench.label_efficiency import cheats, experiment, table
from bench.label_efficiency.prepare import prepare
from bench.label_efficiency.tried import AGREED
from tests.acquisition.conftest import scores_of
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


@pytest.fixture
def run(snippets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs the experiment `tiny` with some keys changed; gives back the folder of results."""
    home = tmp_path / "bench"
    (home / "configs").mkdir(parents=True)
    source = experiment.HERE / "configs" / "imdb_small.yaml"
    monkeypatch.setattr(experiment, "HERE", home)
    monkeypatch.setattr(table, "HERE", home / "results")
    monkeypatch.setenv("SNIPPETS", "")
    # What cheats add is undone.
    monkeypatch.setattr(acquisition, "STRATEGIES", dict(acquisition.STRATEGIES))

    def made(*arguments: str, **changes: str) -> Path:
        (home / "configs" / "tiny.yaml").write_text(_tiny(source.read_text("utf-8"), changes))
        given = ["tiny", "--snippets", str(snippets), "--work", str(tmp_path / "work"), *arguments]
        monkeypatch.setattr(sys, "argv", ["experiment", *given])
        experiment.main()
        return home / "results"

    return made


def test_an_experiment_leaves_results_that_a_table_is_made_of(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    results = run()
    about = json.loads((results / "tiny" / "about.json").read_text())
    assert about["seeds_finished"] == about["seeds_planned"] == 2
    assert len(about["wall_seconds_by_seed"]) == 2
    assert about["policy"]["texts"] == 38
    for file in (results / "tiny").glob("*.[jh]*"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8")
    table.main()
    page = (results / "README.md").read_text(encoding="utf-8")
    assert "| certainty |" in page
    assert "2 of 2 planned seeds" in page
    assert ".670 (.012)" in page


def test_variants_share_a_fit_and_each_has_its_results(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    variants = "{plain: {}, noisy: {noise: 0.2}, known: {strategies: [random, cheat_clean]}}"
    results = run("--jobs", "2", fit_each_seed="true", variants=variants)
    abouts = {f.parent.name: json.loads(f.read_text()) for f in results.glob("tiny/*/about.json")}
    assert {name: one["seeds_finished"] for name, one in abouts.items()} == {
        "plain": 2,
        "noisy": 2,
        "known": 2,
    }
    # A fit for each seed, the same one for all variants.
    assert len({tuple(one["policy_losses"]) for one in abouts.values()}) == 1
    assert len(list((tmp_path / "work" / "policies").iterdir())) == 2
    random = [_values(results / "tiny" / name, "random") for name in ("plain", "known")]
    assert random[0] == random[1]
    table.main()
    page = (results / "README.md").read_text(encoding="utf-8")
    assert "| noisy | 2 | certainty |" in page
    assert "| known | 2 | cheat_clean |" in page
    assert (results / "tiny.png").stat().st_size > 0
    assert (results / "differences.png").stat().st_size > 0


def test_an_experiment_that_is_out_of_time_keeps_no_half_seed(run: Callable[..., Path]) -> None:
    results = run("--minutes", "0")
    assert not (results / "tiny").exists()
    run()
    assert json.loads((results / "tiny" / "about.json").read_text())["seeds_finished"] == 2


def test_a_variant_that_there_is_not_is_refused(run: Callable[..., Path]) -> None:
    with pytest.raises(SystemExit, match="has no variant loud"):
        run("--only", "loud")


def test_cheats_choose_by_what_oracle_and_judge_will_say() -> None:
    """Gaps by oracle and judge of four pairs: sure and agreed, surest but disputed, small, none."""
    gaps = np.array([[2.0, 1.0], [-3.0, 1.0], [0.1, 0.2], [0.0, 0.0]])
    pool = Pool(4, 4, np.random.default_rng(0), features=np.stack([gaps, 0 * gaps], axis=1))
    values = {one.name: one.rank(pool).tolist() for one in cheats.CHEATS}
    assert values == {
        "cheat_gap": [2.0, 3.0, 0.1, 0.0],
        "cheat_clean": [1.0, 0.0, 1.0, 0.0],
        "cheat_clean_half": [1.0, 0.0, 0.0, 0.0],
    }


def test_agreed_takes_the_pair_where_labels_and_policy_say_the_same() -> None:
    """Labels say x is good. The policy is as sure of two pairs, for x and against it, and hardly of
    the third, against x too: agreement comes first, contradiction last.
    """
    x = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    past = Past(np.repeat(x, 5, axis=0), np.ones(5))
    scores = scores_of(np.array([2.0, -2.0, -0.1]))
    pool = Pool(3, 3, np.random.default_rng(0), scores, features=np.repeat(x, 3, 0), past=past)
    assert np.argsort(-AGREED.rank(pool)).tolist() == [0, 2, 1]


def _values(folder: Path, arm: str) -> list[float]:
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    return [row["value"] for row in rows if row["strategy"] == arm]


def _rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _tiny(config: str, more: dict[str, str]) -> str:
    changes = {
        "policy": "{fit: $SNIPPETS/policy.jsonl, steps: 3, width: 16, heads: 2, layers: 1}",
        "prompt_tokens": "[2, 4]",
        "max_new_tokens": "4",
        "eval_prompts": "5",
        "seeds": "[0, 1]",
        "labels": "[2, 4]",
        "pool_factor": "3",
        "epochs": "1",
    } | more
    lines = [line for line in config.splitlines() if line.split(":")[0] not in changes]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in changes.items())])
