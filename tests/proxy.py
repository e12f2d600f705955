"""A reverse proxy that serves a site below a path, and remembers who asked for anything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

HOP = {"connection", "transfer-encoding", "keep-alive"}


class Proxy:
    """Serves ``backend`` at ``address``; ``strips``: whether it takes the prefix off."""

    def __init__(self, backend: str, root: str, strips: bool) -> None:
        self.outside: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def forward(self) -> None:
                if not self.path.startswith(f"{root}/"):
                    proxy.outside.append(self.path)
                    self.send_error(404)
                    return
                length = int(self.headers.get("Content-Length", 0))
                request = httpx.Request(
                    self.command,
                    backend + (self.path.removeprefix(root) if strips else self.path),
                    headers=[(k, v) for k, v in self.headers.items() if k.lower() not in HOP],
                    content=self.rfile.read(length),
                )
                with httpx.Client(timeout=60) as client:
                    answer = client.send(request, stream=True)
                    self.send_response_only(answer.status_code)
                    for name, value in answer.headers.multi_items():
                        if name not in HOP:
                            self.send_header(name, value)
                    self.end_headers()
                    with suppress(BrokenPipeError, ConnectionResetError):
                        for chunk in answer.iter_raw():
                            self.wfile.write(chunk)
                            self.wfile.flush()
                    answer.close()

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = forward

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def behind(backend: str, root: str, strips: bool) -> Iterator[Proxy]:
    """Runs a proxy."""
    made = Proxy(backend, root, strips)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
