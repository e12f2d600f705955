"""Reads a Parquet file in a process of its own: ``python -m app.projects.parquet_child FD``.

A damaged file can end the process that reads it (parquet-cpp throws where nothing catches, found
by fuzzing), and no ``except`` of Python's helps. So the file is handed to a child by its
descriptor. The child tells the columns as a line of JSON, is told by another which ones are wanted,
and sends them as an Arrow stream. What it cannot read it says in the last line of stderr.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

ROWS = 1_000
LARGEST_CHUNK = 2 * 1024**3
MOST_VALUES = 50_000_000
MOST_MEMORY = 4 * LARGEST_CHUNK
"""Bytes of address space: more than any chunk that is let through needs."""


class TooLargeAGroup(Exception):
    """A row group is so large that reading it could take all memory."""


def main() -> None:
    """Columns out, wished ones in, an Arrow stream out."""
    import pyarrow as pa
    from pyarrow import parquet

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, hard))
    try:
        with os.fdopen(int(sys.argv[1]), "rb") as file:
            file.seek(0)
            names = text_columns(parquet.ParquetFile(file).metadata)
            file.seek(0)
            # A text that is written once and meant a thousand times stays one text in memory
            table = parquet.ParquetFile(file, read_dictionary=names)
            print(json.dumps(table.schema_arrow.names), flush=True)  # noqa: T201
            _send(table, json.loads(sys.stdin.readline()))
    except (pa.ArrowException, OSError, UnicodeError, MemoryError, TooLargeAGroup) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        sys.exit(json.dumps([isinstance(error, TooLargeAGroup), why]))


def text_columns(metadata: Any) -> list[str]:
    """Paths of the columns of texts.

    Raises:
        TooLargeAGroup: see there.
    """
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.total_uncompressed_size > LARGEST_CHUNK or chunk.num_values > MOST_VALUES:
                raise TooLargeAGroup(
                    f"Row group {group} is too large: write groups of at most "
                    f"{LARGEST_CHUNK:,} bytes and {MOST_VALUES:,} values a column."
                )
    columns = [metadata.schema.column(n) for n in range(metadata.num_columns)]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _send(table: Any, wanted: list[str]) -> None:
    import pyarrow as pa

    writer = None
    for batch in table.iter_batches(ROWS, columns=wanted):
        if writer is None:
            writer = pa.ipc.new_stream(sys.stdout.buffer, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
