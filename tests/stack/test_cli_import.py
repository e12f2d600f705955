"""``activedpo import``: columns by name, a look before, refused rows in a file, going on after a
break."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.labelling.models import Preference
from app.projects import bulk
from app.projects.actions import create_project
from app.projects.models import Pair, Prompt
from tests.stack.test_cli import _run

ROWS = [
    {"question": "Why?", "good": "Because.", "bad": "No."},
    {"question": "", "good": "x", "bad": "y"},
    {"question": "How?", "good": "Thus.", "bad": "So."},
]
MAP = ("--map", "prompt=question", "--map", "chosen=good", "--map", "rejected=bad")


@pytest.fixture
def project(db: Session) -> str:
    """The name of a project."""
    create_project(db, {"name": "letters", "base_model": "any"}, None)
    db.commit()
    return "letters"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows under names of their own, the second of which has no prompt."""
    found = tmp_path / "mine.jsonl"
    found.write_text("\n".join(map(json.dumps, ROWS)))
    return found


def test_a_dry_run_shows_rows_and_stores_nothing(db: Session, project: str, file: Path) -> None:
    ran = _run("import", project, str(file), "--pairs", *MAP, "--dry-run")
    assert ran.returncode == 1
    assert ran.stdout.startswith("2 would be added, 0 duplicates\nshape: trl")
    assert "columns: question, good, bad" in ran.stdout
    assert "Because." in ran.stdout
    assert "line 2: prompt: must not be empty" in ran.stderr
    assert db.scalar(select(func.count()).select_from(Prompt)) == 0


def test_labels_come_along_and_refused_rows_go_to_a_file_that_can_be_mended(
    db: Session, project: str, file: Path, tmp_path: Path
) -> None:
    refused = tmp_path / "refused.jsonl"
    options = ("--pairs", *MAP, "--labels", "--rejected", str(refused))
    ran = _run("import", project, str(file), *options)
    assert (ran.returncode, ran.stdout) == (1, "2 added, 0 duplicates, 2 labels\n")
    (line,) = map(json.loads, refused.read_text().splitlines())
    assert line == {"line": 2, "reason": "prompt: must not be empty", "original": ROWS[1]}
    assert db.scalar(select(func.count()).select_from(Preference)) == 2
    refused.write_text(json.dumps({**line, "original": {**ROWS[1], "question": "Who?"}}))
    mapped = [word.replace("=", "=original.") if "=" in word else word for word in MAP]
    again = _run("import", project, str(refused), "--pairs", *mapped)
    assert (again.returncode, again.stdout) == (0, "1 added, 0 duplicates\n")


@pytest.mark.parametrize(
    "words", [["question"], ["prompt="], ["colour=x"], ["prompt=a", "prompt=b"]]
)
def test_a_mapping_that_is_none_is_wrong_usage(project: str, file: Path, words: list[str]) -> None:
    options = [part for word in words for part in ("--map", word)]
    ran = _run("import", project, str(file), *options)
    assert ran.returncode == 2
    assert "--map" in ran.stderr


def test_an_import_that_breaks_keeps_what_it_had_and_doubles_nothing(
    db: Session, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.cli import data
    from app.projects import imports

    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"P{n % 40}", "completion_a": f"a{n}", "completion_b": "b"} for n in range(250)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(imports, "BATCH_ROWS", 50)
    store, batches = bulk.store_pairs, []

    def breaks(*given: object) -> int:
        if len(batches) == 3:
            raise KeyboardInterrupt
        batches.append(given)
        return store(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "store_pairs", breaks)
    with pytest.raises(KeyboardInterrupt):
        data.import_file(project, file, pairs=True)
    assert db.scalar(select(func.count()).select_from(Pair)) == 150
    monkeypatch.setattr(bulk, "store_pairs", store)
    data.import_file(project, file, pairs=True)
    db.rollback()
    assert db.scalar(select(func.count()).select_from(Pair)) == 250
    assert db.scalar(select(func.count()).select_from(Prompt)) == 40
