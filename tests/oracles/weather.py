"""A Chat Completions endpoint that judges honestly, or misbehaves as a test tells it."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from typing import Any

GOOD = "What a wonderful, lovely, happy day!"
HANG, DROP, HALF, DRIP, HUGE = "hang", "drop", "half", "drip", "huge"


def honest(body: dict[str, Any]) -> str:
    """A where the good text is shown as A."""
    text = body["messages"][-1]["content"]
    good, second = text.index(GOOD), text.index("RESPONSE B")
    return "A" if good < second else "B"


def completion(content: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """A whole answer of the endpoint with this content."""
    message = {"role": "assistant", "content": content, **more}
    body = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def as_json(verdict: str) -> tuple[int, dict[str, str], bytes]:
    return completion(json.dumps({"verdict": verdict}))


Answer = tuple[int, dict[str, str], bytes] | str
Plan = Callable[[dict[str, Any], int], Answer]


class Server:
    """The endpoint, in a thread. ``plan(body, number of the request)`` says what it answers."""

    def __init__(self, plan: Plan | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.plan: Plan = plan or (lambda body, _: as_json(honest(body)))
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.delay = 0.0
        self.together = self.most_together = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(5)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._end = asyncio.Event()
        self._talks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        # handshakes that were broken off, too: they are tasks of the loop and of nobody else
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which their connections close

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._talks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        names = {name.lower(): value for name, value in lines.items()}
        body = json.loads(await reader.readexactly(int(names["content-length"])))
        self.requests.append(body)
        self.keys.append(names.get("authorization", ""))
        number = len(self.requests)
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(self.delay)
        self.together -= 1
        answer = self.plan(body, number)
        if answer == HANG:
            await asyncio.sleep(60)
        if answer == DROP:
            return False
        if isinstance(answer, str):
            return await self._odd(answer, writer)
        status, headers, data = answer
        headers = {"Content-Length": str(len(data)), **headers}
        lines_out = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines_out}\r\n".encode() + data)
        await writer.drain()
        return True

    async def _odd(self, how: str, writer: asyncio.StreamWriter) -> bool:
        start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if how == HALF:
            writer.write(start + b'Content-Length: 500\r\n\r\n{"choices": [{"mess')
        elif how == HUGE:
            writer.write(start + b"Content-Length: 10000000\r\n\r\n")
            for _ in range(100):
                writer.write(b"x" * 100_000)
                await writer.drain()
        elif how == DRIP:
            writer.write(start + b"Content-Length: 500\r\n\r\n")
            for _ in range(500):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        await writer.drain()
        return False
