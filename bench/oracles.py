"""``python -m bench.oracles``: how fast oracles label, on a real stack of this machine.

- LLM judge against a local endpoint with 200 ms latency, 32 requests at a time, beside its peer in
  the same run: the bare loop of 32 requests over httpx that stores nothing. Ideal: 160 a second.
  With the rate between the first label stored and the last, and what a pair took of each part's
  CPU time, in milliseconds.
- REST oracle through ``activedpo.client`` on imported pairs, claims of 100 and answers of 500, in
  one thread, beside the same with a call for every answer.

Writes ``bench/results/oracles.json`` and ``bench/results/rest_oracle.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from activedpo.client import MOST_ANSWERS, MOST_CLAIMS, Answer, Client
from activedpo.oracles import templates
from activedpo.testing import tiny_model
from app.stack.redis import free_port
from bench.conditions import conditions
from bench.endpoint import endpoint
from tests.oracles.weather import GOOD
from tests.stack.conftest import Stack

RESULTS = Path(__file__).parent / "results"
LATENCY, AT_A_TIME, KEY = 0.2, 32, "a-key-for-benchmarks-0123456789"


def project(client: Client, model: str, pairs: int) -> str:
    """A project of so many imported pairs, its round open for labels."""
    made = client.send(
        "POST",
        "/projects",
        {
            "name": f"bench {pairs}",
            "base_model": model,
            "source": "imported",
            "acquisition": "random",
            "batch_size": pairs,
            "training": {"max_steps": 1, "lora": 4},
        },
    )
    rows = [
        {"prompt": f"prompt {i}", "completion_a": GOOD, "completion_b": f"terrible {i}"}
        for i in range(pairs)
    ]
    client.send("POST", f"/projects/{made['id']}/pairs", {"pairs": rows})
    client.send("POST", f"/projects/{made['id']}/rounds")
    return str(made["id"])


def llm_judge(
    client: Client, model: str, url: str, pairs: int, cpu: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Labels a second of an attached judge, from attaching to the last label, and CPU times."""
    at = project(client, model, pairs)
    body = {"kind": "openai", "base_url": url, "model": "m", "both_orders": False}
    before, started = cpu(), time.perf_counter()
    client.send("PUT", f"/projects/{at}/oracle", {**body, "concurrency": AT_A_TIME})
    while client.get(f"/projects/{at}/rounds")["items"][0]["state"] == "labelling":
        time.sleep(0.1)
    seconds, after = time.perf_counter() - started, cpu()
    spent = {f"ms_{part}": 1e3 * (after[part] - before[part]) / pairs for part in after}
    wait_for_round(client, at)
    return {"llm_judge": pairs / seconds, "sustained": sustained(client, at), **spent}


def sustained(client: Client, at: str) -> float:
    """Labels a second after the first that were stored, up to the last: no start, no end."""
    times = sorted(
        dt.datetime.fromisoformat(label["created_at"])
        for label in client.items(f"/projects/{at}/preferences")
    )
    later = [time for time in times if time > times[0]]
    return len(later) / (times[-1] - times[0]).total_seconds()


def cpu_times(pid: int) -> dict[str, float]:
    """Seconds of CPU time so far of the stack below a supervisor: its worker, database and rest."""
    found = {"worker": 0.0, "database": 0.0, "others": 0.0}
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line, used = " ".join(process.cmdline()), process.cpu_times()
            part = "worker" if "celery" in line else "others"
            part = "database" if process.name().startswith("postgres") else part
            # of children that ended, too: a database's processes come and go
            found[part] += used.user + used.system + used.children_user + used.children_system
    return found


def wait_for_round(client: Client, at: str) -> None:
    """The training is none of what is measured, nor of what is measured next."""
    while client.get(f"/projects/{at}/rounds")["items"][0]["state"] not in ("done", "failed"):
        time.sleep(0.2)


async def bare_loop(url: str, questions: int) -> float:
    """Questions a second of nothing but the requests."""
    free = asyncio.Semaphore(AT_A_TIME)
    limits = httpx.Limits(max_connections=AT_A_TIME)
    async with httpx.AsyncClient(limits=limits, timeout=30) as http:

        async def ask(i: int) -> None:
            said = templates.messages(f"prompt {i}", GOOD, f"terrible {i}", "the better one")
            async with free:
                at = f"{url}/chat/completions"
                (await http.post(at, json={"model": "m", "messages": said})).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(ask(i) for i in range(questions)))
        return questions / (time.perf_counter() - started)


def rest_oracle(client: Client, model: str, pairs: int, at_a_time: int = MOST_ANSWERS) -> float:
    """Labels a second of a client that decides at once, from the first claim to the last label."""
    at = project(client, model, pairs)
    started = time.perf_counter()
    held: list[Answer] = []
    done = 0
    while done < pairs:
        claims = client.claims(at, MOST_CLAIMS)
        held += [Answer(claim.id, "left") for claim in claims]
        if len(held) >= at_a_time or not claims:
            for start in range(0, len(held), at_a_time):
                outcomes = client.answer(*held[start : start + at_a_time])
                assert all(outcome.status == 201 for outcome in outcomes)
            done, held = done + len(held), []
    seconds = time.perf_counter() - started
    wait_for_round(client, at)
    return pairs / seconds


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["judge", "rest"], help="default: both")
    parser.add_argument("--pairs", type=int, default=1_600)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, endpoint(LATENCY) as url:
        model = tiny_model(Path(folder) / "tiny")
        more = {"ACTIVEDPO_API_KEY": KEY, "ACTIVEDPO_ALLOW_PRIVATE_ADDRESSES": "1"}
        stack = Stack(Path(folder) / "home", free_port(), OMP_NUM_THREADS="1", **more)
        try:
            stack.printed("API key")
            with Client(f"http://127.0.0.1:{stack.port}", KEY) as client:
                if given.only != "rest":
                    cpu = partial(cpu_times, stack.process.pid)
                    write("oracles", judges(client, model, url, given.pairs, given.repeats, cpu))
                if given.only != "judge":
                    write("rest_oracle", rest(client, model, 2 * given.pairs, given.repeats))
        finally:
            stack.end()


def write(name: str, figures: dict[str, Any]) -> None:
    """Into the folder of results, with what it was measured on."""
    said = {
        **conditions(),
        "unit": "labels a second",
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(said, indent=2) + "\n")
    print(json.dumps(said, indent=2))


def judges(
    client: Client,
    model: str,
    url: str,
    pairs: int,
    repeats: int,
    cpu: Callable[[], dict[str, float]],
) -> dict[str, Any]:
    """The attached judge, each run beside its peer."""
    runs = [
        {
            **llm_judge(client, model, url, pairs, cpu),
            "bare_loop": asyncio.run(bare_loop(url, pairs)),
            "load": os.getloadavg()[0],
        }
        for _ in range(repeats)
    ]
    return {"ideal": AT_A_TIME / LATENCY, "pairs": pairs, "runs": rounded(runs)}


def rest(client: Client, model: str, pairs: int, repeats: int) -> dict[str, Any]:
    """An oracle from outside, in batches and one by one."""
    runs = [
        {
            "in_batches": rest_oracle(client, model, pairs),
            "one_by_one": rest_oracle(client, model, pairs // 20, at_a_time=1),
            "load": os.getloadavg()[0],
        }
        for _ in range(repeats)
    ]
    return {"pairs": pairs, "runs": rounded(runs)}


def rounded(runs: list[dict[str, float]]) -> list[dict[str, float]]:
    """To what the measurement is worth."""
    return [{name: round(value, 2) for name, value in run.items()} for run in runs]


if __name__ == "__main__":
    main()
