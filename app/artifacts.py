"""Policies' folders in the artefact store, which is any fsspec URL: a folder here, or S3.

A folder is written once, by one attempt, to a path of its own, and referred to only when it is
whole; every file's SHA-256 is kept in the database and checked on the way back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from app.settings import get_settings

CHUNK = 1024 * 1024
Files = dict[str, Any]


class DamagedArtifactError(Exception):
    """A stored file is not what was stored; the message names it and says what to do."""


def _root() -> tuple[Any, str]:
    fs, root = fsspec.core.url_to_fs(get_settings().artifacts_url)
    return fs, root.rstrip("/")


def _address(root: str, path: str, name: str = "") -> str:
    relative = PurePosixPath(path, name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{relative}: leads out of the artefact store")
    return f"{root}/{relative}"


def put_folder(local: Path, path: str) -> Files:
    """Store a folder with all below it.

    Args:
        path: where, relative to the store's root; nothing is there yet.

    Returns:
        `{name: {"size": bytes, "sha256": hex}}`, names relative to the folder.
    """
    fs, root = _root()
    files: Files = {}
    for file in sorted(found for found in local.rglob("*") if found.is_file()):
        name = file.relative_to(local).as_posix()
        target = _address(root, path, name)
        fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        with file.open("rb") as source, fs.open(target, "wb") as sink:
            files[name] = _copied(source, sink)
    return files


def _copied(source: IO[bytes], sink: IO[bytes]) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    for chunk in iter(lambda: source.read(CHUNK), b""):
        digest.update(chunk)
        size += len(chunk)
        sink.write(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def open_file(path: str, name: str) -> IO[bytes]:
    """Open a stored file to read.

    Raises:
        FileNotFoundError: it is not there.
    """
    fs, root = _root()
    opened: IO[bytes] = fs.open(_address(root, path, name), "rb")
    return opened


def chunks(path: str, name: str, sha256: str) -> Iterator[bytes]:
    """A stored file piece by piece.

    Raises:
        DamagedArtifactError: at the end, where it is not what was stored.
    """
    digest = hashlib.sha256()
    with open_file(path, name) as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
            yield chunk
    _same(path, name, digest.hexdigest(), sha256)


def _same(path: str, name: str, found: str, sha256: str) -> None:
    if found != sha256:
        raise DamagedArtifactError(
            f"{path}/{name} is damaged in the artefact store (SHA-256 {found[:12]}… instead of "
            f"{sha256[:12]}…): restore it from a backup, or train its round again"
        )


def fetch_folder(path: str, files: Files, cache_dir: Path) -> Path:
    """A stored folder on this machine: from the cache, or brought there whole and checked.

    From a store on the same disk the files are linked, so they take no second place.

    Raises:
        FileNotFoundError: a file is not in the store.
        DamagedArtifactError: a file is not what was stored.
    """
    folder = Path(_address(str(cache_dir), path))
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        for name, facts in files.items():
            target = making / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _bring(path, name, facts["sha256"], target)
        making.mkdir(exist_ok=True)
        # Another process may have been faster: then the folder is there and rename refuses
        with contextlib.suppress(OSError):
            os.rename(making, folder)
        if not folder.is_dir():
            raise OSError(f"{folder} could not be made")
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _bring(path: str, name: str, sha256: str, target: Path) -> None:
    fs, root = _root()
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        source = Path(_address(root, path, name))
        if not source.is_file():
            raise FileNotFoundError(f"{path}/{name} is not in the artefact store")
        with contextlib.suppress(OSError):
            os.link(source, target)
            with target.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            _same(path, name, digest, sha256)
            return
    with target.open("wb") as sink:
        for chunk in chunks(path, name, sha256):
            sink.write(chunk)


def remove_folder(path: str) -> None:
    """Remove a stored folder; one that is not there is no error."""
    fs, root = _root()
    with contextlib.suppress(FileNotFoundError):
        fs.rm(_address(root, path), recursive=True)
