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
    """Store a folder with all below it; large files go to an object store in parts.

    An error on the way leaves nothing: no half file, and none of those before it.

    Args:
        path: where, relative to the store's root; nothing is there yet.

    Returns:
        `{name: {"size": bytes, "sha256": hex}}`, names relative to the folder.
    """
    fs, root = _root()
    files: Files = {}
    try:
        for file in sorted(found for found in local.rglob("*") if found.is_file()):
            name = file.relative_to(local).as_posix()
            files[name] = _stored(fs, file, _address(root, path, name))
    except Exception:
        with contextlib.suppress(Exception):  # the store that failed may fail at this as well
            remove_folder(path)
        raise
    return files


def _stored(fs: Any, file: Path, target: str) -> dict[str, Any]:
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    fs.makedirs(target.rpartition("/")[0], exist_ok=True)
    # never through fs.open: closing such a file after an error would publish what came so far
    fs.put_file(str(file), target)
    return {"size": file.stat().st_size, "sha256": digest}


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
    fs.invalidate_cache()  # another process may have put the folder there
    with contextlib.suppress(FileNotFoundError):
        fs.rm(_address(root, path), recursive=True)
