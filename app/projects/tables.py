"""Rows out of Parquet and Arrow files, a batch at a time, however much one text is referred to."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from app.errors import Invalid
from app.language import _
from app.projects.mapping import AS_IT_IS, Named
from app.projects.parquet_child import MOST_VALUES, ROWS
from app.projects.row import LONGEST_LINE, Columns, Rejected, Row

MARK = b"PAR1"


def parquet_rows(
    file: IO[bytes], columns: Columns, mapping: Named = AS_IT_IS
) -> Iterator[Row | Rejected]:
    """The rows of a Parquet file, which a process of its own opens: see `parquet_child`.

    Raises:
        Invalid: it is none, lacks a column, or is packed so that reading could take all memory.
    """
    _check_marks(file)
    with _on_disk(file) as given, tempfile.TemporaryFile() as told:
        command = [sys.executable, "-m", "app.projects.parquet_child", str(given)]
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603  our own module and a number
            command, stdin=pipe, stdout=pipe, stderr=told, pass_fds=(given,)
        ) as child:
            try:
                with _readable("Parquet file"):
                    yield from _numbered(_of_child(child, told, columns, mapping))
            finally:
                child.kill()


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Refuse a file in the words of what could not read it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Invalid(
            _("This is no %(what)s that can be read: %(why)s", what=what, why=why), field="file"
        ) from None


def _check_marks(file: IO[bytes]) -> None:
    """Refuse what is no Parquet file at first sight, before a process is started for it."""
    first = file.read(len(MARK))
    file.seek(max(0, file.seek(0, io.SEEK_END) - len(MARK)))
    last = file.read(len(MARK))
    file.seek(0)
    if not first == last == MARK:
        raise Invalid(
            _("This is no Parquet file that can be read: it does not begin and end with PAR1."),
            field="file",
        )


@contextmanager
def _on_disk(file: IO[bytes]) -> Iterator[int]:
    """A descriptor of the file, which is copied to the disk where it is in memory alone."""
    try:
        number = file.fileno()
    except OSError:
        with tempfile.TemporaryFile() as copied:
            shutil.copyfileobj(file, copied)
            copied.flush()
            yield copied.fileno()
    else:
        yield number


def _of_child(
    child: subprocess.Popen[bytes], told: IO[bytes], columns: Columns, mapping: Named
) -> Iterator[Any]:
    """Batches that the child reads.

    Raises:
        Invalid: the file as a whole is not what it says, lacks a column, or ended the child.
    """
    import pyarrow as pa

    assert child.stdin is not None
    assert child.stdout is not None
    header = child.stdout.readline()
    if header.endswith(b"\n"):
        wanted = _wanted(json.loads(header), columns, mapping)
        try:
            child.stdin.write(json.dumps(wanted).encode() + b"\n")
            child.stdin.close()
            sent = child.stdout.peek(1)  # type: ignore[attr-defined]
            yield from pa.ipc.open_stream(child.stdout) if sent else ()
        except (pa.ArrowException, OSError):
            pass  # cut off: the child says why below
    if child.wait():
        raise Invalid(_why(told), field="file")


def _why(told: IO[bytes]) -> str:
    told.seek(0)
    lines = told.read().decode(errors="replace").splitlines()
    try:
        whole, why = json.loads(lines[-1])
    except (IndexError, ValueError):  # it did not come so far as to say
        whole, why = False, "it is damaged"
    return str(why) if whole else f"This is no Parquet file that can be read: {why}"


def arrow_rows(path: Path, columns: Columns, mapping: Named = AS_IT_IS) -> Iterator[Row | Rejected]:
    """The rows of an Arrow stream, as ``datasets`` saves them: mapped into memory, checked.

    Raises:
        Invalid: it is none, lacks a column, or holds what could take all memory to unpack.
    """
    import pyarrow as pa

    with _readable("Arrow stream"), pa.memory_map(str(path)) as file:
        messages = pa.ipc.MessageReader.open_stream(file)
        schema = pa.ipc.read_schema(messages.read_next_message())
        wanted = _wanted(schema.names, columns, mapping)
        for name in wanted:
            _plain(schema.field(name).type, name)
        yield from _numbered(_batches(messages, schema, wanted))


def _batches(messages: Any, schema: Any, wanted: list[str]) -> Iterator[Any]:
    import pyarrow as pa

    total = 0
    for message in iter(messages):
        if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
            raise Invalid(
                _(
                    "This Arrow file is compressed or holds dictionaries: save it plainly, as "
                    "datasets does, or as Parquet."
                ),
                field="file",
            )
        batch = pa.ipc.read_record_batch(message, schema).select(wanted)
        batch.validate(full=True)  # offsets that lead elsewhere would be read blindly
        total += batch.num_rows
        if total > MOST_VALUES:
            raise Invalid(
                _("An Arrow file holds at most %(most_values)s rows.", most_values=MOST_VALUES),
                field="file",
            )
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _is_compressed(metadata: bytes) -> bool:
    """Whether a message of a record batch says that its buffers are compressed.

    It says so in a flatbuffer (Arrow's ``Message.fbs``), and nothing in pyarrow tells it: the
    fourth field of the batch, to which the third of the message leads.
    """

    def field(table: int, number: int) -> int:
        vtable = table - int.from_bytes(metadata[table : table + 4], "little", signed=True)
        size = int.from_bytes(metadata[vtable : vtable + 2], "little")
        at = 4 + 2 * number
        if at >= size:
            return 0
        offset = int.from_bytes(metadata[vtable + at : vtable + at + 2], "little")
        return table + offset if offset else 0

    root = int.from_bytes(metadata[:4], "little")
    header = field(root, 2)
    batch = header + int.from_bytes(metadata[header : header + 4], "little")
    return field(batch, 3) != 0


def _plain(kind: Any, name: str) -> None:
    """Refuse types in which few bytes may stand for many."""
    import pyarrow as pa

    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind):
        _plain(kind.value_type, name)
    elif types.is_struct(kind):
        for n in range(kind.num_fields):
            _plain(kind.field(n).type, name)
    elif not any(
        fits(kind)
        for fits in (types.is_primitive, types.is_string, types.is_large_string, types.is_null)
    ):
        raise Invalid(
            _(
                "column %(name)s: holds %(kind)s, which is not read from Arrow",
                name=name,
                kind=kind,
            ),
            field="file",
        )


def _wanted(names: list[str], columns: Columns, mapping: Named) -> list[str]:
    header = mapping.header(names)
    columns = columns.fitting(header)
    columns.check(header)
    return mapping.wanted(names, columns)


def _numbered(batches: Iterable[Any]) -> Iterator[Row | Rejected]:
    line = 0
    for batch in batches:
        for fields in _records(batch):
            line += 1
            if fields is None:
                yield Rejected(line, f"is longer than {LONGEST_LINE:,} bytes")
            else:
                yield Row(line, {k: v for k, v in fields.items() if v is not None})


def _records(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The batch's rows; None for one that is longer than a line may be."""
    if _bytes_of(batch.to_struct_array()) <= LONGEST_LINE:
        yield from batch.to_pylist()
        return
    for n in range(batch.num_rows):
        row = batch.slice(n, 1)
        small = _bytes_of(row.to_struct_array()) <= LONGEST_LINE
        yield row.to_pylist()[0] if small else None


def _bytes_of(array: Any) -> int:
    """About how many bytes the values would take once each stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_bytes_of(array.field(n)) for n in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _bytes_of(array.flatten()) + 64 * len(array.flatten())
    return int(array.nbytes)
