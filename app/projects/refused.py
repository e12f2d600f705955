"""The lines that an import refused, as a file: where, why and what stood there."""

from __future__ import annotations

import json
from typing import IO, Any

import orjson

from app.projects.row import Rejected


class RefusedLines:
    """Writes refused lines as JSON Lines with ``line``, ``reason`` and ``original``.

    Where the file would become longer than ``most`` bytes, originals are left out and
    ``left_out`` is true in their place.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most
        self.lines = 0

    def __call__(self, one: Rejected) -> None:
        """Write one."""
        self.lines += 1
        told = {"line": one.line, "reason": one.reason}
        line = _json({**told, "original": one.original}) + b"\n"
        if len(line) > self._left:
            line = _json({**told, "original": None, "left_out": True}) + b"\n"
        self._left -= len(line)
        self._file.write(line)


def _json(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        # A lone surrogate, a number beyond 64 bits: what was refused may be anything
        return json.dumps(value, default=str).encode()
