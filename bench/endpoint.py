"""``python -m bench.endpoint SECONDS``: a Chat Completions endpoint that answers A after a while.

As little work as can be: what is measured beside it shares its cores. It prints its port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BODY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"{\\"verdict\\": \\"A\\"}"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":10}}'
)
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_END, _LENGTH = b"\r\n\r\n", b"content-length:"


class _Talk(asyncio.Protocol):
    """One connection; every whole request is answered ``seconds`` after it came."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._read = seconds, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport, self._loop = transport, asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(_END)) >= 0:
            head = self._read[:end].lower()
            length = int(head[head.index(_LENGTH) + len(_LENGTH) :].split(b"\r\n", 1)[0])
            whole = end + len(_END) + length
            if len(self._read) < whole:
                return
            self._read = self._read[whole:]
            self._loop.call_later(self._seconds, self._transport.write, _REPLY)


async def _serve(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Talk(seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def endpoint(seconds: float) -> Iterator[str]:
    """Its base URL, while it runs in a process of its own."""
    command = [sys.executable, "-m", "bench.endpoint", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
