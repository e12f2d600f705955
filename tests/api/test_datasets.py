"""Datasets of several files: what ``datasets`` saves, Parquet by split, zips, and bombs in them."""

from __future__ import annotations

import io
import json
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Invalid, Problem
from app.projects import datasets, imports
from app.projects.actions import create_project
from app.projects.models import Pair, Prompt
from app.settings import get_settings
from tests.stack.test_cli import _run

PAIRS = [
    {
        "prompt": [{"role": "user", "content": f"Q{n}?"}],
        "chosen": [{"role": "assistant", "content": f"good {n}"}],
        "rejected": [{"role": "assistant", "content": f"bad {n}"}],
        "score": 0.5,
    }
    for n in range(5)
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Four pairs to train on in two files, and one to test with, as ``save_to_disk`` writes."""
    both = DatasetDict(train=Dataset.from_list(PAIRS[:4]), test=Dataset.from_list(PAIRS[4:]))
    both.save_to_disk(str(tmp_path / "mine"), num_shards={"train": 2, "test": 1})
    return tmp_path / "mine"


@pytest.fixture
def by_split(tmp_path: Path) -> Path:
    """The same as the Hub keeps it: Parquet files whose names begin with their split."""
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    for name, rows in (("train-00000-of-00001", PAIRS[:4]), ("test-00000-of-00001", PAIRS[4:])):
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    (tmp_path / "hub" / "README.md").write_text("# Mine")
    return tmp_path / "hub"


def zipped(folder: Path) -> bytes:
    """The folder as a browser or Finder would send it: within a folder of its name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/mine/._train.parquet", b"x")
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path(folder.name) / path.relative_to(folder))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["saved", "by_split"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_or_its_zip_gives_the_pairs_of_its_training_split(
    request: pytest.FixtureRequest, db: Session, kind: str, packed: bool, tmp_path: Path
) -> None:
    create_project(db, {"name": "letters", "base_model": "any"}, None)
    db.commit()
    path = request.getfixturevalue(kind)
    if packed:
        content = zipped(path)
        path = tmp_path / "mine.zip"
        path.write_bytes(content)
    ran = _run("import", "letters", str(path), "--pairs", "--labels", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["added"], told["labels"], told["shape"]) == (4, 4, "trl")
    assert len(told["files"]) == (2 if kind == "saved" else 1)
    (left_out,) = told["left_out"]
    assert "test" in left_out
    assert {p for pair in db.scalars(select(Pair)) for p in (pair.completion_a,)} <= {
        f"{word} {n}" for word in ("good", "bad") for n in range(4)
    }


def test_prompts_of_a_test_split_are_for_evaluation(cast: Any, db: Session, saved: Path) -> None:
    answer = cast.owner.post(
        f"{cast.project}/prompts", files={"file": ("mine.zip", zipped(saved))}
    ).json()
    assert answer["added"] == 5
    assert "left_out" not in answer
    found = db.execute(select(Prompt.split, Prompt.content)).all()
    assert {content[0]["content"]: split for split, content in found} == {
        "Q0?": "train",
        "Q1?": "train",
        "Q2?": "train",
        "Q3?": "train",
        "Q4?": "eval",
    }


def test_refused_rows_name_their_file_and_columns_may_have_other_names(
    cast: Any, tmp_path: Path
) -> None:
    rows = [{"q": "Why?", "x": "a", "y": "b"}, {"q": "", "x": "a", "y": "b"}]
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "mine"))
    mapping = {"prompt": "q", "completion_a": "x", "completion_b": "y"}
    answer = cast.owner.post(
        f"{cast.project}/pairs?dry_run=1",
        files={"file": ("mine.zip", zipped(tmp_path / "mine"))},
        data={"mapping": json.dumps(mapping)},
    ).json()
    assert (answer["added"], answer["columns"]) == (1, ["q", "x", "y"])
    assert answer["rejected"][0]["line"] == 2
    assert answer["first"][0]["completion_a"] == "a"


def test_a_raw_zip_is_known_by_its_first_bytes(cast: Any, by_split: Path) -> None:
    answer = cast.owner.post(f"{cast.project}/pairs", content=zipped(by_split))
    assert answer.json()["added"] == 4


def members(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def broken(content: bytes) -> bytes:
    """The same zip with a byte of its first member turned over."""
    at = content.index(b"PK\x03\x04") + 60
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


LINE = b'{"prompt": "P", "completion_a": "a", "completion_b": "b"}\n'


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"PK\x03\x04 and nothing else", "no zip"),
        (b"", "no zip"),
        (members(**{"notes.txt": b"x"}), "no dataset"),
        (members(**{"state.json": b"{"}), "state.json: is no valid JSON"),
        (members(**{"state.json": b"{}"}), "does not say which files"),
        (
            members(**{"state.json": b'{"_data_files": [{"filename": "../../etc/passwd"}]}'}),
            "names a file that is not there",
        ),
        (broken(members(**{"a.jsonl": LINE * 500})), "cannot be unpacked"),
        (members(**{"a.arrow": b"ARROW1 or not"}), "no Arrow stream"),
        (members(**{"a.parquet": b"PAR1"}), "no Parquet file"),
    ],
)
def test_a_zip_that_is_none_is_refused_whole(cast: Any, content: bytes, part: str) -> None:
    answer = cast.owner.post(f"{cast.project}/pairs", files={"file": ("a.zip", content)})
    assert answer.status_code == 422, answer.text
    assert part in answer.json()["detail"]


def test_a_zip_bomb_is_refused_while_it_unpacks(
    cast: Any, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = members(**{"a.jsonl": LINE + b"\n" * (64 << 20), "b.jsonl": LINE})
    assert len(bomb) < 100_000
    monkeypatch.setattr(get_settings(), "max_upload_bytes", 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = cast.owner.post(f"{cast.project}/pairs", files={"file": ("a.zip", bomb)})
    assert answer.status_code == 413
    assert "unpacks to more than 4,194,304 bytes" in answer.json()["detail"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    assert db.scalars(select(Pair)).all() == []


def test_a_zip_of_a_million_names_is_refused_before_they_are_read() -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 1 << 29, 0, 0)
    with pytest.raises(Invalid, match="up to 10,000 files"):
        datasets.Zip(io.BytesIO(b"PK\x03\x04" + end))


def arrow(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("table", "options", "part"),
    [
        (pa.table({"prompt": ["x" * (64 << 20)]}), {"compression": "zstd"}, "compressed"),
        (pa.table({"prompt": pa.array(["x"] * 9).dictionary_encode()}), {}, "dictionary"),
        (pa.table({"prompt": pa.array([["x"]], pa.list_view(pa.string()))}), {}, "list_view"),
    ],
)
def test_arrow_in_which_little_stands_for_much_is_refused(
    table: pa.Table, options: dict[str, Any], part: str
) -> None:
    zip = datasets.Zip(io.BytesIO(members(**{"a.arrow": arrow(table, **options)})))
    with pytest.raises(Problem, match=part):
        list(datasets.Dataset(zip, imports.PROMPT_COLUMNS, pairs=False))


def test_arrow_whose_offsets_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    content = bytearray(arrow(pa.table({"prompt": ["abcdefgh", "ijklmnop"]})))
    at = bytes(content).rindex(struct.pack("<3i", 0, 8, 16))
    content[at + 4 : at + 8] = struct.pack("<i", 1 << 30)
    (tmp_path / "a.arrow").write_bytes(content)
    read = datasets.Dataset(datasets.Folder(tmp_path), imports.PROMPT_COLUMNS, pairs=False)
    with pytest.raises(Problem, match="no Arrow stream"):
        list(read)
