"""Files that are read from the database while they are sent."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from fastapi.responses import StreamingResponse

from app.turns import streamed

SENT_AT_ONCE = 64 * 1024


def download(
    pieces: Iterable[bytes], name: str, media_type: str, *, private: bool = False
) -> StreamingResponse:
    """The answer that saves them under ``name``; what is private no cache keeps."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if private:
        headers["Cache-Control"] = "private, no-store"
    return StreamingResponse(streamed(_gathered(pieces)), media_type=media_type, headers=headers)


def _gathered(pieces: Iterable[bytes]) -> Generator[bytes]:
    """The same in pieces of some size: each one that is sent costs more than a row does."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= SENT_AT_ONCE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
