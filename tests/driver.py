"""Somebody outside who uses a running stack over HTTP, and what must hold of it at the end."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

TRAINING = {
    "beta": 0.1,
    "lora": 4,
    "learning_rate": 1e-2,
    "max_steps": 6,
    "batch_size": 4,
    "checkpoint_every": 2,
}


class Visitor:
    """A client that tries again while the server is down, as a browser's outbox does."""

    def __init__(self, address: str, key: str, patience: float = 60.0) -> None:
        self.http = httpx.Client(
            base_url=f"{address}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=15,
        )
        weakref.finalize(self, self.http.close)
        self.patience = patience
        self.server_errors: list[str] = []

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One call; repeated while the server cannot be reached or fails."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                answer = self.http.request(method, path, **more)
            except httpx.TransportError as error:
                why = type(error).__name__
            else:
                if answer.status_code < 500:
                    return answer
                why = f"{answer.status_code} {answer.text[:300]}"
                self.server_errors.append(f"{method} {path}: {why}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path}: {why}")
            time.sleep(0.1)

    def get(self, path: str, **query: Any) -> Any:
        """A read that must succeed."""
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """A write that must succeed."""
        answer = self.ask("POST", path, json={} if body is None else body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def everything(self, path: str) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=500, **cursor)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = {"cursor": page["next"]}

    def project(self, base_model: str, prompts: int = 12, **more: Any) -> str:
        """A project with prompts; its id."""
        wanted = {
            "name": "letters",
            "base_model": base_model,
            "batch_size": 4,
            "pool_size": 8,
            "generation": {"max_new_tokens": 6, "entropy_samples": 2},
            "training": TRAINING,
        } | more
        project: str = self.post("/projects", wanted)["id"]
        texts = [{"prompt": f"say something about {n}"} for n in range(prompts)]
        self.post(f"/projects/{project}/prompts", {"prompts": texts})
        return project

    def open_round(self, project: str) -> str:
        """Opens a round; its id. A conflict means that an earlier try had opened it."""
        answer = self.ask("POST", f"/projects/{project}/rounds")
        if answer.status_code == 409:
            rounds = self.everything(f"/projects/{project}/rounds")
            return next(r["id"] for r in rounds if r["state"] not in ("done", "cancelled"))
        assert answer.status_code == 202, answer.text
        opened: str = answer.json()["id"]
        return opened

    def wait_for(self, round_id: str, *states: str, seconds: float = 120) -> Any:
        """The round once it is in one of ``states``."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(f"/rounds/{round_id}")
            if found["state"] in states:
                return found
            assert found["state"] != "failed", found["error"]
            assert time.monotonic() < deadline, f"still {found}"
            time.sleep(0.1)

    def label(self, project: str, said: dict[str, str], upto: int = 100) -> int:
        """Claims and answers; every preference answered 201 or 200 goes into ``said``."""
        claims = self.get(f"/projects/{project}/claims")["items"]  # an answer may have got lost
        claims += self.post(f"/projects/{project}/claims", {"count": upto})["items"]
        for claim in claims:
            choice = "left" if claim["left"] > claim["right"] else "right"
            given = self.post(f"/claims/{claim['id']}/preference", {"choice": choice})
            said[given["id"]] = choice
        return len(claims)

    def label_round(self, project: str, round_id: str, said: dict[str, str]) -> None:
        """Answers all that the round asks for."""
        self.wait_for(round_id, "labelling")
        deadline = time.monotonic() + 60
        while self.get(f"/rounds/{round_id}")["state"] == "labelling":
            if not self.label(project, said):
                time.sleep(0.2)
            assert time.monotonic() < deadline, "the batch does not fill"

    def a_round(self, project: str, said: dict[str, str]) -> str:
        """A whole round; its id."""
        round_id = self.open_round(project)
        self.label_round(project, round_id, said)
        self.wait_for(round_id, "done")
        return round_id


def wait_until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What ``true`` gives once it is something."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(0.05)
    return found


def visitor_of(stack: Any) -> Visitor:
    """A visitor of a stack of ``tests/stack``, with the key it printed."""
    key = stack.printed("API key")
    return Visitor(f"http://127.0.0.1:{stack.port}", key)


def files_below(folder: Path) -> list[str]:
    """Names of all files below a folder, in order."""
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
