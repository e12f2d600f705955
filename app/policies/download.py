"""A policy as a zip, streamed: the adapter as it was stored, or merged into a full model."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from app import artifacts
from app.errors import Conflict, NotFound, Unavailable
from app.language import _
from app.policies.actions import GONE
from app.policies.base_models import find_base
from app.policies.models import Policy
from app.settings import get_settings

log = structlog.get_logger()
MERGE_SECONDS = 1_800
MERGED_KEPT = 4


class _Sink(io.RawIOBase):
    """Takes what a zip writer writes, and gives it on; it cannot seek, so zip writes ahead."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        """What came since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def as_stored(policy: Policy) -> Iterator[bytes]:
    """A zip of the policy's files; each is checked while it is read.

    Raises:
        NotFound: a file is not in the artefact store.
        Conflict: the base has none; or the rule of retention removed them.
    """
    path = policy.path
    if policy.removed_at is not None:
        raise Conflict(GONE)
    if path is None:
        raise Conflict(
            _(
                "This is the base policy, which has no files of its own: ask for ?merged=true, "
                "or take the base model itself (%(name)s).",
                name=Path(policy.base_model).name,
            )
        )
    for name in policy.files:
        try:
            artifacts.open_file(path, name).close()
        except FileNotFoundError:
            raise NotFound(
                _("%(name)s of this policy is not in the artefact store any more.", name=name)
            ) from None
    files = policy.files
    return _zip(
        (name, artifacts.chunks(path, name, files[name]["sha256"])) for name in sorted(files)
    )


def merged(policy: Policy) -> Iterator[bytes]:
    """A zip of the full model: base and adapter in one. Made at the first call and kept.

    Raises:
        Conflict: merging failed; the message says why.
        Unavailable: it took too long.
    """
    if policy.kind == "full" or policy.removed_at is not None:
        return as_stored(policy)
    folder = _merged_folder(policy)
    return _zip((file.name, _pieces(file)) for file in sorted(folder.iterdir()))


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(lambda: opened.read(artifacts.CHUNK), b"")


def _zip(files: Iterator[tuple[str, Iterator[bytes]]]) -> Iterator[bytes]:
    sink = _Sink()
    # Weights do not compress; stored, they stream at the speed of the disk
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in files:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                for piece in pieces:
                    entry.write(piece)
                    yield sink.taken()
    yield sink.taken()


def _merged_folder(policy: Policy) -> Path:
    cache = get_settings().home / "cache"
    folder = cache / "merged" / str(policy.id)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{policy.id}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file closes
        if not folder.is_dir():
            _forget_oldest(folder.parent)
            _merge(policy, folder, cache / "policies")
    return folder


def _forget_oldest(merged: Path) -> None:
    kept = [folder for folder in merged.iterdir() if folder.is_dir()]
    for folder in sorted(kept, key=lambda folder: folder.stat().st_mtime)[: -MERGED_KEPT + 1]:
        shutil.rmtree(folder, ignore_errors=True)


def _merge(policy: Policy, folder: Path, cache: Path) -> None:
    making = folder.with_name(f".{folder.name}")
    shutil.rmtree(making, ignore_errors=True)
    command = [sys.executable, "-m", "activedpo.merge"]
    if policy.path is not None:
        command += ["--adapter", str(artifacts.fetch_folder(policy.path, policy.files, cache))]
    command += ["--", find_base(policy.base_model), str(making)]
    try:
        done = subprocess.run(  # noqa: S603 (our own module; names are behind the "--")
            command, capture_output=True, text=True, timeout=MERGE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            _(
                "Merging took longer than %(merge_seconds)s s and was stopped.",
                merge_seconds=MERGE_SECONDS,
            )
        ) from None
    if done.returncode != 0:
        log.error("merge_failed", policy=str(policy.id), stderr=done.stderr[-4_000:])
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Conflict(_("Merging failed: %(why)s", why=why))
    os.rename(making, folder)
