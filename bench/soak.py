"""``python -m bench.soak``: people, oracles and kills on a real stack; what was lost or doubled.

Annotators and an oracle from outside (``activedpo.client``, answers in batches) label one project,
an attached oracle another that goes on by itself; rounds train one after the other, and every so
many seconds one part is killed with ``kill -9``: the training child, the worker, beat, the web
server, Redis or Postgres. At the end every promise of ``tests/faults`` is checked. Writes
``bench/results/soak.json``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import random
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from activedpo.client import Answer, Client
from activedpo.testing import tiny_model
from app.stack.redis import free_port
from tests.driver import Visitor, visitor_of
from tests.faults.harness import QUICK, ask, check_promises, check_rounds
from tests.stack.conftest import Stack

PARTS = ("child", "worker", "beat", "web", "redis", "postgres")
RESULT = Path(__file__).parent / "results" / "soak.json"


@dataclass
class Tally:
    """What is counted while it goes on; ``said`` is what was answered 201 or 200."""

    said: dict[str, str] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[int] = field(default_factory=Counter)
    rounds: int = 0
    by_oracle: int = 0
    memory: dict[str, list[tuple[float, int]]] = field(
        default_factory=lambda: {"web": [], "worker": []}
    )
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)


def annotate(visitor: Visitor, project: str, tally: Tally, seed: int) -> None:
    """One annotator: claims, thinks for a moment, answers; tries again while parts are down."""
    draw = random.Random(seed)
    while not tally.stop.is_set():
        held = visitor.get(f"/projects/{project}/claims")["items"]  # an answer may have got lost
        more = [] if held else visitor.post(f"/projects/{project}/claims", {"count": 2})["items"]
        for claim in held + more:
            time.sleep(draw.random() * 0.1)
            choice = draw.choice(("left", "right"))
            answer = visitor.ask(
                "POST", f"/claims/{claim['id']}/preference", json={"choice": choice}
            )
            with tally.lock:
                if answer.is_success:
                    tally.said[answer.json()["id"]] = choice
                else:
                    tally.conflicts[answer.status_code] += 1
        time.sleep(0.2)


def judge(url: str, key: str, project: str, tally: Tally) -> None:
    """An oracle from outside: the longer answer, a few pairs at a time, as its users would."""
    with Client(url, key, tries=40) as client:
        while not tally.stop.is_set():
            claims = client.held(project) or client.claims(project, count=2, wait=1.0)
            said = {c.id: "left" if len(c.left) > len(c.right) else "right" for c in claims}
            for outcome in client.answer(*(Answer(*one) for one in said.items())):
                with tally.lock:
                    if outcome.stored:
                        tally.said[str(outcome.preference)] = said[str(outcome.claim)]
                        tally.by_oracle += 1
                    else:
                        tally.conflicts[outcome.status] += 1


def strike(stack: Stack, tally: Tally, every: float, seed: int) -> None:
    """Kill one part after the other, in a random order."""
    draw = random.Random(seed)
    while not tally.stop.wait(every):
        part = draw.choice(PARTS)
        with suppress(OSError, ValueError, psutil.Error, KeyError, IndexError):
            pid = stack.state["pids"]["worker" if part == "child" else part]
            if part == "child":
                pid = psutil.Process(pid).children()[0].pid
            os.kill(pid, signal.SIGKILL)
            tally.kills[part] += 1


def watch(stack: Stack, tally: Tally) -> None:
    """Memory of the web server and of the worker, every two seconds: (seconds, bytes)."""
    begun = time.monotonic()
    while not tally.stop.wait(2):
        for part, seen in tally.memory.items():
            with suppress(OSError, ValueError, psutil.Error, KeyError):
                resident = psutil.Process(stack.state["pids"][part]).memory_info().rss
                seen.append((time.monotonic() - begun, resident))


def people(stack: Stack, project: str, count: int) -> list[Visitor]:
    """Annotators of the project, each with a key."""
    admin = visitor_of(stack)
    made = []
    for n in range(count):
        person = admin.post("/people", {"email": f"annotator{n}@example.com"})["id"]
        admin.post(f"/projects/{project}/members", {"person": person})
        key = admin.post("/keys", {"person": person, "project": project})["key"]
        made.append(Visitor(f"http://127.0.0.1:{stack.port}", key, patience=180))
    return made


def outside(admin: Visitor, project: str) -> str:
    """The key of an oracle that labels the project from outside."""
    person = admin.post("/people", {"email": "oracle@example.com"})["id"]
    admin.post(f"/projects/{project}/members", {"person": person})
    body = {"person": person, "project": project, "scope": "oracle"}
    return str(admin.post("/keys", body)["key"])


def unattended(admin: Visitor, model: str) -> str:
    """A project that an attached oracle labels, and that opens its rounds by itself."""
    project = admin.project(model, prompts=200, batch_size=8, pool_size=24, auto_next=True)
    body = {"kind": "length", "prefer": "longer"}
    admin.ask("PUT", f"/projects/{project}/oracle", json=body).raise_for_status()
    admin.open_round(project)
    return project


def come_to_rest(admin: Visitor, project: str) -> int:
    """Let the unattended project end its round and open no other; how many rounds it did."""
    admin.ask("PATCH", f"/projects/{project}", json={"auto_next": False}).raise_for_status()
    while True:
        rounds = admin.everything(f"/projects/{project}/rounds")
        if all(one["state"] == "done" for one in rounds):
            return len(rounds)
        assert not any(one["state"] in ("failed", "cancelled") for one in rounds), rounds[0]
        time.sleep(1)


def soak(stack: Stack, model: str, minutes: float, annotators: int, every: float) -> dict[str, Any]:
    """Let it go on for so long; figures, with every promise that was found broken."""
    admin, tally = visitor_of(stack), Tally()
    admin.patience = 180
    project = admin.project(model, prompts=200, batch_size=16, pool_size=32)
    crowd, alone = people(stack, project, annotators), unattended(admin, model)
    url, key = f"http://127.0.0.1:{stack.port}", outside(admin, project)
    helpers = [
        threading.Thread(target=annotate, args=(visitor, project, tally, n), daemon=True)
        for n, visitor in enumerate(crowd)
    ]
    helpers.append(threading.Thread(target=judge, args=(url, key, project, tally), daemon=True))
    helpers.append(threading.Thread(target=watch, args=(stack, tally), daemon=True))
    killer = threading.Thread(target=strike, args=(stack, tally, every, 0), daemon=True)
    for thread in [*helpers, killer]:
        thread.start()
    begun = time.monotonic()
    while time.monotonic() - begun < minutes * 60:
        admin.wait_for(admin.open_round(project), "done", seconds=600)
        tally.rounds += 1
    tally.stop.set()
    for thread in [killer, *helpers]:
        thread.join(200)
    rounds_alone = come_to_rest(admin, alone)
    broken = []
    for check in (
        lambda: check_promises(stack, admin, project, tally.said),
        lambda: check_rounds(stack, alone),
    ):
        try:
            check()
        except AssertionError as error:
            broken.append(str(error) or "see tests/faults/harness.py")
    kept = _compared(stack, project, tally) | {
        "promises_broken": broken,
        "rounds_of_the_attached_oracle": rounds_alone,
        "labels_of_the_attached_oracle": len(admin.everything(f"/projects/{alone}/preferences")),
    }
    return _figures(tally, [admin, *crowd], time.monotonic() - begun) | kept


def _compared(stack: Stack, project: str, tally: Tally) -> dict[str, Any]:
    """What was answered against what is stored, and how often each round trained."""
    query = "SELECT id::text, pair_id, person_id FROM preferences WHERE project_id = %s"
    stored = ask(stack, query + " AND deleted_at IS NULL", project)
    trained = ask(
        stack,
        "SELECT count(*) FROM events WHERE project_id = %s AND kind = 'policy.published' "
        "GROUP BY round_id",
        project,
    )
    return {
        "labels_stored": len(stored),
        "labels_lost": len(set(tally.said) - {row[0] for row in stored}),
        "labels_doubled": len(stored) - len({row[1:] for row in stored}),
        "trainings_a_round": max(count for (count,) in trained),
    }


def _figures(tally: Tally, visitors: list[Visitor], seconds: float) -> dict[str, Any]:
    errors = [error for visitor in visitors for error in visitor.server_errors]
    return {
        "taken_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[1], 1),
        "seconds": round(seconds, 1),
        "annotators": len(visitors) - 1,
        "labels": len(tally.said),
        "labels_of_the_oracle_outside": tally.by_oracle,
        "rounds_done": tally.rounds,
        "kills": dict(tally.kills),
        "answers_refused": {str(status): n for status, n in tally.conflicts.items()},
        "server_errors": len(errors),
        "server_errors_by_kind": dict(Counter(error.split(": ", 1)[1][:60] for error in errors)),
        "memory_mb": {
            part: [round(size / 1e6) for _, size in seen[:: max(1, len(seen) // 20)]]
            for part, seen in tally.memory.items()
        },
        "memory_mb_an_hour": {part: _slope(seen) for part, seen in tally.memory.items()},
    }


def _slope(seen: list[tuple[float, int]]) -> float | None:
    """Least squares over all samples, in MB an hour."""
    if len(seen) < 2:
        return None
    seconds, sizes = zip(*seen, strict=True)
    return round(statistics.linear_regression(seconds, sizes).slope * 3600 / 1e6, 1)


def main() -> None:
    """Run it and write the figures down."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--minutes", type=float, default=30)
    wanted.add_argument("--annotators", type=int, default=16)
    wanted.add_argument("--every", type=float, default=20, help="seconds between kills")
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        model = tiny_model(Path(folder) / "tiny")
        stack = Stack(Path(folder) / "home", free_port(), **QUICK)
        try:
            figures = soak(stack, model, options.minutes, options.annotators, options.every)
        finally:
            stack.end()
    RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    if figures["promises_broken"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
