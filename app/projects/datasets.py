"""A dataset of several files: a folder, or a zip of one, as Hugging Face's ``datasets`` write it.

``save_to_disk`` leaves Arrow streams beside ``state.json``, and ``dataset_dict.json`` above them
where there are splits; the Hub keeps Parquet, or text, whose names begin with the split. A split
that is for testing gives prompts for evaluation and, beside one for training, no pairs at all.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

import orjson

from app.errors import Invalid, TooLarge
from app.language import _
from app.projects import reading
from app.projects.mapping import AS_IT_IS, Named
from app.projects.reading import Format
from app.projects.row import Columns, Rejected, Row
from app.projects.tables import arrow_rows
from app.settings import get_settings

MOST_FILES = 10_000
UNPACKED_TIMES = 4
"""A zip may unpack to this many times the largest upload; a member at a time lies on the disk."""
_LARGEST_DIRECTORY = 4 * 1024 * 1024
_LARGEST_JSON = 1024 * 1024
_CHUNK = 1024 * 1024
_SPLIT = re.compile(r"(?:^|[/._-])(train|test|validation|valid|val|eval|dev)(?=[/._-]|$)")
# In this order: a Parquet file beside a README in CSV is the dataset
_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "jsonl", ".csv": "csv"}
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"


@dataclass(frozen=True)
class Part:
    """One file of a dataset, and the split that it says it belongs to."""

    name: str
    split: str | None

    @property
    def tests(self) -> bool:
        """Whether it is there to test what the others taught."""
        return self.split not in (None, "train")


class Files(Protocol):
    """Where the files of a dataset are."""

    def names(self) -> Sequence[str]:
        """Their paths, with slashes."""

    def path(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """One of them on this machine's disk."""

    def size(self, name: str) -> int:
        """Its length in bytes."""


@dataclass
class Folder:
    """A folder on this machine."""

    root: Path

    def names(self) -> Sequence[str]:
        """All files below it but hidden ones."""
        found = (p.relative_to(self.root) for p in self.root.rglob("*") if p.is_file())
        return [p.as_posix() for p in found if not any(x.startswith(".") for x in p.parts)]

    @contextlib.contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """Where it is."""
        yield self.root / name

    def size(self, name: str) -> int:
        """Its length in bytes."""
        return (self.root / name).stat().st_size


@dataclass
class Zip:
    """A zip, whose members are unpacked one at a time; their names lead nowhere on the disk."""

    file: IO[bytes]
    left: int = field(default_factory=lambda: UNPACKED_TIMES * get_settings().max_upload_bytes)

    def __post_init__(self) -> None:
        _small_directory(self.file)
        try:
            self._zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise Invalid(
                _("This is no zip that can be read: %(error)s", error=error), field="file"
            ) from None

    def names(self) -> Sequence[str]:
        """All members but folders and what macOS adds."""
        every = (one.filename for one in self._zip.infolist() if not one.is_dir())
        return [n for n in every if not any(p.startswith((".", "__")) for p in n.split("/"))]

    @contextlib.contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """A copy of it, there for as long as the context."""
        member = self._zip.getinfo(name)
        if member.flag_bits & 1 or member.compress_type not in (0, zipfile.ZIP_DEFLATED):
            raise Invalid(
                _("%(name)s: is encrypted, or packed in another way than deflate", name=name)
            )
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as copy:
            try:
                with self._zip.open(member) as source:
                    while chunk := source.read(_CHUNK):
                        self._take(len(chunk))
                        copy.write(chunk)
            except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
                raise Invalid(
                    _("%(name)s: cannot be unpacked: %(error)s", name=name, error=error),
                    field="file",
                ) from None
            copy.flush()
            yield Path(copy.name)

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            most = UNPACKED_TIMES * get_settings().max_upload_bytes
            raise TooLarge(
                _("The zip unpacks to more than %(most)s bytes; nothing was stored.", most=most)
            )

    def size(self, name: str) -> int:
        """What it says its length is."""
        return self._zip.getinfo(name).file_size


def _small_directory(file: IO[bytes]) -> None:
    """Refuse a zip whose directory would fill the memory before its first member is seen."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(_END)
    end = tail[at : at + 22]
    file.seek(0)
    if at < 0 or len(end) < 22:
        raise Invalid(_("This is no zip that can be read: it has no directory."), field="file")
    files, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if files > MOST_FILES or directory > _LARGEST_DIRECTORY or tail[:at][-20:].startswith(_END_64):
        raise Invalid(
            _("A zip may hold up to %(most_files)s files.", most_files=MOST_FILES), field="file"
        )


class Dataset:
    """The rows of a dataset, whose numbers count through all of its files.

    Attributes:
        parts: the files that are read, in their order.
        left_out: those of a split that is not wanted.
    """

    def __init__(
        self,
        files: Files,
        columns: Columns,
        mapping: Named = AS_IT_IS,
        *,
        pairs: bool,
        done: Callable[[int], object] = int,
    ) -> None:
        """Look what there is.

        Args:
            pairs: of pairs a test split is left out; of prompts it is for evaluation.
            done: is told the size of each file that was read.

        Raises:
            Invalid: nothing in it can be read.
        """
        self._files, self._columns, self._mapping = files, columns, mapping
        self._pairs, self._done = pairs, done
        found = _parts(files)
        taught = [part for part in found if not part.tests]
        self.parts = taught if pairs and taught else found
        self.left_out = [part for part in found if part not in self.parts]

    def __iter__(self) -> Iterator[Row | Rejected]:
        line = 0
        for part in self.parts:
            with self._files.path(part.name) as path:
                for row in self._rows(path):
                    line += 1
                    yield self._numbered(row, line, part)
            self._done(self._files.size(part.name))

    def _rows(self, path: Path) -> Iterator[Row | Rejected]:
        kind = _KINDS[path.suffix.lower()]
        if kind == "arrow":
            rows = arrow_rows(path, self._columns, self._mapping)
            yield from self._mapping.over(rows) if self._mapping else rows
            return
        with path.open("rb") as file:
            yield from reading.rows(file, cast("Format", kind), self._columns, self._mapping)

    def _numbered(self, row: Row | Rejected, line: int, part: Part) -> Row | Rejected:
        if isinstance(row, Rejected):
            return replace(row, line=line, reason=f"{part.name}, line {row.line}: {row.reason}")
        if self._pairs or not part.tests or "split" in row.fields:
            return replace(row, line=line)
        original = row.fields if row.original is None else row.original
        return Row(line, {**row.fields, "split": "eval"}, original)

    def view(self) -> dict[str, Any]:
        """What was read and what was not, as JSON."""
        view: dict[str, Any] = {"files": [part.name for part in self.parts[:100]]}
        if self.left_out:
            view["left_out"] = [part.name for part in self.left_out[:100]]
        return view


def rows(
    file: IO[bytes],
    format: Format,
    columns: Columns,
    mapping: Named = AS_IT_IS,
    *,
    pairs: bool,
) -> Iterable[Row | Rejected]:
    """The rows of whatever was sent: of a zip a :class:`Dataset`.

    Raises:
        Invalid: the file as a whole is not what it says.
    """
    if format == "zip":
        return Dataset(Zip(file), columns, mapping, pairs=pairs)
    return reading.rows(file, format, columns, mapping)


def _parts(files: Files) -> list[Part]:
    names = sorted(files.names())
    if len(names) > MOST_FILES:
        raise Invalid(
            _("A dataset may have up to %(most_files)s files.", most_files=MOST_FILES), field="file"
        )
    states = [name for name in names if PurePosixPath(name).name == "state.json"]
    if states:
        found = [part for state in states for part in _saved(files, state, set(names))]
    else:
        by_kind = ([n for n in names if n.lower().endswith(kind)] for kind in _KINDS)
        found = [Part(n, _split_of(n)) for n in next(filter(None, by_kind), [])]
    if not found:
        raise Invalid(
            _(
                "There is no dataset in it: neither what save_to_disk writes nor any file "
                "ending in %(kinds)s.",
                kinds=", ".join(_KINDS),
            ),
            field="file",
        )
    return found


def _saved(files: Files, state: str, names: set[str]) -> Iterator[Part]:
    """What ``save_to_disk`` says belongs to one split."""
    told = _json(files, state)
    listed = told.get("_data_files") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise Invalid(_("%(state)s: does not say which files there are", state=state), field="file")
    folder = PurePosixPath(state).parent
    split = told.get("_split")
    for one in listed:
        name = str(folder / str(one.get("filename") if isinstance(one, dict) else one))
        if name not in names or not name.endswith(".arrow"):
            raise Invalid(
                _(
                    "%(state)s: names a file that is not there: %(name)s",
                    state=state,
                    name=name[:200],
                ),
                field="file",
            )
        yield Part(name, _split_of(str(split)) if split else _split_of(f"{folder.name}/"))


def _split_of(name: str) -> str | None:
    found = _SPLIT.search(name.lower())
    return found[1] if found else None


def _json(files: Files, name: str) -> Any:
    with files.path(name) as path, path.open("rb") as file:
        raw = file.read(_LARGEST_JSON + 1)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Invalid(_("%(name)s: is no valid JSON", name=name), field="file") from None
