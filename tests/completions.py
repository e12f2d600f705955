"""A small server of completions, as vLLM's, around a policy that really samples."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

import activedpo as ad
from activedpo.decoding import Request, decode
from activedpo.loading import Policy
from activedpo.packing import plain_logprobs
from activedpo.sampling import Sample, Sampling

PLAIN = {"model", "prompt", "n", "max_tokens", "temperature", "top_p", "seed", "logprobs", "top_k"}


@dataclass
class CompletionServer:
    """Serves one base and adapters on it.

    Attributes:
        gives: "ids" (return_token_ids), "named" (token_id:N among the log-probs), or "text".
        strict: refuses what OpenAI's API does not know.
        single: gives one completion, however many are asked for.
        busy: requests to come that are answered 429.
        spoil: changes a reply before it is sent.
        slow: no reply is sent until it is set.
    """

    folder: str
    model: str = "tiny"
    gives: str = "ids"
    strict: bool = False
    single: bool = False
    busy: int = 0
    retry_after: str | None = "0"
    key: str | None = None
    spoil: Any = None
    slow: threading.Event | None = None
    policies: dict[str, Policy] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> CompletionServer:
        self.policies = {self.model: ad.load(self.folder, device="cpu", dtype="float32")}
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; twice is once."""
        if self.slow is not None:
            self.slow.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.asked]

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of an answer."""
        if path == "/models":
            return 200, {"object": "list", "data": [{"id": name} for name in self.policies]}
        if path == "/load_lora_adapter":
            made = ad.load(self.folder, adapter=body["lora_path"], device="cpu", dtype="float32")
            self.policies[body["lora_name"]] = made
            return 200, f"Success: LoRA adapter '{body['lora_name']}' added successfully."
        if path == "/unload_lora_adapter":
            return (200, "Success") if self.policies.pop(body["lora_name"], None) else (404, {})
        if body["model"] not in self.policies:
            return 404, {"error": {"message": "no such model"}}
        if self.strict and set(body) - PLAIN:
            return 400, {"error": {"message": f"unknown fields in {body}"}}
        return 200, {"choices": self._choices(body)}

    def _choices(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        policy, prompt = self.policies[body["model"]], tuple(body["prompt"])
        n = 1 if self.single else body["n"]
        stops = frozenset(body.get("stop_token_ids") or [policy.tokenizer.eos_token_id])
        sampling = Sampling(
            body["max_tokens"],
            body["temperature"],
            body["top_p"] if body["top_p"] < 1 else None,
            body.get("top_k"),
            body["seed"],
        )
        with self._lock:
            ((*samples,),) = decode(
                policy, [Request(prompt, n, body["max_tokens"])], sampling, [stops]
            )
            return [self._choice(policy, prompt, sample) for sample in samples]

    def _choice(self, policy: Policy, prompt: tuple[int, ...], sample: Sample) -> dict[str, Any]:
        ids = [*sample.tokens, *([sample.stop] if sample.stop is not None else [])]
        choice: dict[str, Any] = {
            "text": policy.tokenizer.decode(list(sample.tokens)),
            "finish_reason": "length" if sample.stop is None else "stop",
        }
        if self.gives != "text":
            with torch.no_grad():
                values = plain_logprobs(policy, prompt, tuple(ids)).tolist()
            named = [f"token_id:{token}" for token in ids]
            choice["logprobs"] = {"tokens": named, "token_logprobs": values}
        if self.gives == "ids":
            choice |= {"token_ids": ids, "prompt_token_ids": list(prompt)}
        if self.spoil is not None:
            self.spoil(choice)
        return choice


class _Handler(BaseHTTPRequestHandler):
    server_of: CompletionServer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._answer(json.loads(self.rfile.read(length) or b"{}"))

    def _answer(self, body: dict[str, Any]) -> None:
        server, path = self.server_of, self.path.removeprefix("/v1")
        server.asked.append((path, body))
        if server.slow is not None and path == "/completions":
            server.slow.wait(60)
        if server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
            return self._send(401, {})
        if server.busy and path == "/completions":
            server.busy -= 1
            return self._send(429, {}, server.retry_after)
        return self._send(*server.reply(path, body))

    def _send(self, status: int, body: Any, retry_after: str | None = None) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with suppress(OSError):
            self.send_response(status)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        return None
