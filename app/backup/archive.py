"""The backup's file: a plain tar whose last entries say what every other one must be.

::

    database.dump        pg_dump's custom format
    secret_key           what signs sessions and seals stored secrets
    secrets/NAME         the first admin's generated password and key, where there are any
    demo.json            which project is the demo's, where there is one
    models/NAME          base models kept in HOME that a project uses
    artifacts/PATH       every file of every policy
    manifest.json        format, versions, size and SHA-256 of each entry above
    manifest.sha256      SHA-256 of the manifest
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

FORMAT = 1
CHUNK = 1 << 20
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
DATABASE, SECRET_KEY = "database.dump", "secret_key"
Advance = Callable[[int], object]


class BackupError(Exception):
    """The backup cannot be written or read; the message says why and what to do."""


class NoDatabaseError(BackupError):
    """There is no database to talk to."""


class Progress:
    """Told how many bytes there will be and how many were done; the base class is silent."""

    def total(self, size: int) -> None:
        """There will be ``size`` bytes."""

    def advance(self, size: int) -> None:
        """``size`` bytes more are done."""


@dataclass
class Writer:
    """A backup being written; entries are counted and hashed on the way."""

    tar: tarfile.TarFile
    advance: Advance
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, source: IO[bytes], size: int) -> str:
        """Add an entry of exactly ``size`` bytes; its SHA-256.

        Raises:
            BackupError: the source is shorter than it was said to be.
        """
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        counted = _Counted(source, self.advance)
        try:
            self.tar.addfile(info, counted)
        except OSError as error:
            if error.errno is not None:  # of the disk, and not of tarfile's own making
                raise
            raise BackupError(f"{name} is shorter than it was said to be") from error
        digest = counted.digest.hexdigest()
        self.entries[name] = {"size": size, "sha256": digest}
        return digest

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a small entry."""
        self.add(name, io.BytesIO(data), len(data))

    def seal(self, facts: dict[str, Any]) -> None:
        """Write down what all the entries are; nothing comes after it."""
        manifest = json.dumps({"format": FORMAT, **facts, "entries": dict(self.entries)}, indent=1)
        self.add_bytes(MANIFEST, manifest.encode())
        self.add_bytes(SEAL, hashlib.sha256(manifest.encode()).hexdigest().encode())


class _Counted(io.RawIOBase):
    """Reads through: counts, hashes, tells how far."""

    def __init__(self, source: IO[bytes], advance: Advance) -> None:
        self.source, self.advance = source, advance
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.digest.update(data)
        self.advance(len(data))
        return data


@contextmanager
def written(target: Path, advance: Advance = lambda _: None) -> Iterator[Writer]:
    """A backup at ``target``, mode 0600, whole or not at all.

    Raises:
        BackupError: ``target`` is something else than an earlier backup, or cannot be written.
    """
    _may_replace(target)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield Writer(tar, advance)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _may_replace(target: Path) -> None:
    if not target.exists():
        return
    if target.is_dir():
        raise BackupError(f"{target} is a folder: name a file in it")
    if target.stat().st_size and not _looks_like_one(target):
        raise BackupError(f"{target} exists and is no ActiveDPO backup: choose another name")


def _looks_like_one(file: Path) -> bool:
    try:
        with tarfile.open(file, "r:") as tar:
            first = tar.next()
            return first is not None and first.name == DATABASE
    except (tarfile.TarError, OSError):
        return False


class Backup:
    """A backup that was read to its end and found whole."""

    def __init__(self, file: Path, advance: Advance = lambda _: None) -> None:
        """Read and check all of it; nothing else happens before that.

        Raises:
            BackupError: it is no backup, of a newer format, cut off or damaged.
        """
        self.file = file
        try:
            with tarfile.open(file, "r:") as tar:
                found, texts = _read(tar, advance)
        except FileNotFoundError:
            raise BackupError(f"{file}: there is no such file") from None
        except IsADirectoryError:
            raise BackupError(f"{file} is a folder, not a backup") from None
        except tarfile.TarError as error:
            raise _not_whole(file, error) from error
        self.facts = _manifest(file, texts)
        self.entries: dict[str, dict[str, Any]] = self.facts["entries"]
        _compare(file, found, self.entries)

    def open(self, name: str) -> _Entry:
        """One entry to read; use it as a context."""
        return _Entry(self.file, name)

    def text(self, name: str) -> str:
        """A small entry as text."""
        with self.open(name) as source:
            return source.read().decode()

    def below(self, folder: str) -> list[str]:
        """Names of all entries in ``folder``."""
        return [name for name in self.entries if name.startswith(f"{folder}/")]


class _Entry:
    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name

    def __enter__(self) -> IO[bytes]:
        self._tar = tarfile.open(self._file, "r:")  # closed in __exit__
        source = self._tar.extractfile(self._name)
        assert source is not None, "every entry was read before and is a plain file"
        return source

    def __exit__(self, *_: object) -> None:
        self._tar.close()


def _not_whole(file: Path, error: Exception) -> BackupError:
    if _looks_like_one(file):
        return BackupError(f"{file} is damaged or was cut off ({error}); nothing was restored")
    return BackupError(f"{file} is no ActiveDPO backup; nothing was restored")


def _read(
    tar: tarfile.TarFile, advance: Advance
) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    found: dict[str, dict[str, Any]] = {}
    texts: dict[str, bytes] = {}
    for info in tar:
        name = safe_name(info.name)
        source = tar.extractfile(info) if info.isfile() else None
        if source is None or name in found:
            raise tarfile.TarError(f"{info.name} is not a plain file of its own")
        if name in (MANIFEST, SEAL):
            texts[name] = source.read()
            continue
        digest, size = hashlib.sha256(), 0
        for chunk in iter(lambda source=source: source.read(CHUNK), b""):  # type: ignore[misc]
            digest.update(chunk)
            size += len(chunk)
            advance(len(chunk))
        found[name] = {"size": size, "sha256": digest.hexdigest()}
    return found, texts


def safe_name(name: str) -> str:
    """The same name, if it stays inside the folder it is unpacked into.

    Raises:
        tarfile.TarError: it leads out.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or "\\" in name:
        raise tarfile.TarError(f"{name} leads out of the backup")
    return name


def _manifest(file: Path, texts: dict[str, bytes]) -> dict[str, Any]:
    if set(texts) != {MANIFEST, SEAL}:
        raise _not_whole(file, Exception("its manifest is missing"))
    if hashlib.sha256(texts[MANIFEST]).hexdigest() != texts[SEAL].decode(errors="replace"):
        raise _not_whole(file, Exception("its manifest was changed"))
    facts: dict[str, Any] = json.loads(texts[MANIFEST])
    if facts["format"] > FORMAT:
        raise BackupError(
            f"{file} has format {facts['format']}, this version reads up to {FORMAT}: install "
            f"ActiveDPO {facts['activedpo']} or newer"
        )
    return facts


def _compare(file: Path, found: dict[str, Any], entries: dict[str, Any]) -> None:
    for name in [*entries, *found]:
        if found.get(name) != entries.get(name):
            what = "is missing" if name not in found else "is not what was backed up"
            raise BackupError(f"{file} is damaged: {name} {what}; nothing was restored")
