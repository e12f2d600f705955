"""The artefact store: what comes back is what was stored, or an error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import artifacts
from app.settings import get_settings

PATH = "projects/p/rounds/1/train-1"


@pytest.fixture(params=["file", "memory"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A store on this disk, where files are linked, and one elsewhere, where they are copied."""
    url = (tmp_path / "store").as_uri() if request.param == "file" else f"memory:/{tmp_path}"
    monkeypatch.setenv("ACTIVEDPO_ARTIFACTS", url)
    get_settings.cache_clear()
    yield url
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a folder in it."""
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "a.bin").write_bytes(os.urandom(3_000_000))
    (made / "deep" / "b.json").write_text("{}")
    return made


def test_a_folder_comes_back_as_it_was_stored(store: str, folder: Path, tmp_path: Path) -> None:
    files = artifacts.put_folder(folder, PATH)
    assert {name: facts["size"] for name, facts in files.items()} == {
        "a.bin": 3_000_000,
        "deep/b.json": 2,
    }
    # fsspec's memory store knows no threads, a disk does
    with ThreadPoolExecutor(4 if store.startswith("file") else 1) as pool:
        calls = [
            pool.submit(artifacts.fetch_folder, PATH, files, tmp_path / "cache") for _ in range(8)
        ]
        (fetched,) = {call.result() for call in calls}
    for name in files:
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert [entry.name for entry in fetched.parent.iterdir()] == ["train-1"]


def test_a_damaged_file_is_named_and_not_kept(store: str, folder: Path, tmp_path: Path) -> None:
    files = artifacts.put_folder(folder, PATH)
    files["a.bin"]["sha256"] = "0" * 64
    with pytest.raises(artifacts.DamagedArtifactError, match=r"a\.bin is damaged"):
        artifacts.fetch_folder(PATH, files, tmp_path / "cache")
    assert not (tmp_path / "cache" / PATH).exists()
    with pytest.raises(artifacts.DamagedArtifactError):
        list(artifacts.chunks(PATH, "a.bin", "0" * 64))


def test_a_removed_folder_is_gone(store: str, folder: Path, tmp_path: Path) -> None:
    files = artifacts.put_folder(folder, PATH)
    artifacts.remove_folder(PATH)
    artifacts.remove_folder(PATH)
    with pytest.raises(FileNotFoundError):
        artifacts.fetch_folder(PATH, files, tmp_path / "cache")


def test_no_path_leads_out_of_the_store(store: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        artifacts.put_folder(folder, "../elsewhere")
