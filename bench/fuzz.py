"""``python -m bench.fuzz --inputs 100000``: bad inputs against importers, API and pages.

The application runs in this process on a Postgres and a Redis of its own; who asks are the cast
of ``tests/security``, made anew every few hundred inputs, since some of them are deleted by what
they send. An answer of 5xx, an exception, or an error that is no problem document is a finding.
Writes ``bench/results/fuzz.json``; ``--only N`` sends one input again and shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.conditions import conditions

RESULT = Path(__file__).parent / "results" / "fuzz.json"
ANEW = 300
SLOW_SECONDS = 5.0
MOST_FINDINGS = 50


@dataclass
class Tally:
    """What was answered, by kind of input."""

    inputs: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slow: int = 0
    slowest: float = 0.0

    def take(self, other: Tally) -> None:
        """Add what another process counted."""
        self.inputs += other.inputs
        for kind, found in other.statuses.items():
            self.statuses[kind] = self.statuses.get(kind, Counter()) + found
        self.findings += other.findings
        self.slow, self.slowest = self.slow + other.slow, max(self.slowest, other.slowest)


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/app/" in f.filename]
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "elsewhere"
    return f"{type(error).__name__} at {at}"


def _fault(answer: Any) -> str | None:
    """What is wrong with an answer; None where nothing is."""
    if answer.status_code >= 500:
        return f"status {answer.status_code}"
    if b"Traceback" in answer.content:
        return "insides in the answer"
    kind = answer.headers.get("Content-Type", "")
    api = answer.request.url.path.startswith("/api/")
    if api and answer.status_code >= 400 and kind != "application/problem+json":
        return f"{answer.status_code} is no problem document"
    return None


async def _send(client: Any, world: Any, one: Any) -> Any:
    headers = world.by_cookie(one.who) if one.by_cookie else world.by_key(one.who)
    sent: dict[str, Any] = {**headers, **({"Accept": "text/html"} if one.by_cookie else {})}
    sent |= one.headers
    more = (
        {"content": one.body}
        if one.form is None
        else {"data": {"csrf_token": headers.get("X-CSRF-Token", ""), **one.form}}
    )
    return await client.request(one.method, one.path, headers=sent, **more)


async def _one(client: Any, world: Any, seed: int, number: int, tally: Tally) -> None:
    from bench.fuzz_inputs import made

    one = made(seed, number, world.own)
    tally.inputs[one.kind] += 1
    found = tally.statuses.setdefault(one.kind, Counter())
    began = time.monotonic()
    try:
        answer = await _send(client, world, one)
        fault, status = _fault(answer), f"{answer.status_code // 100}xx"
    except Exception as error:
        fault, status = _where(error), "exception"
    took = time.monotonic() - began
    tally.slow, tally.slowest = tally.slow + (took > SLOW_SECONDS), max(tally.slowest, took)
    found[status] += 1
    if fault:
        shown = f"{one.method} {one.path}"[:300]
        tally.findings.append({"number": number, "kind": one.kind, "what": fault, "sent": shown})


async def _run(
    app: Any, engine: Any, seed: int, numbers: range, ends: float = float("inf")
) -> Tally:
    import httpx
    from sqlalchemy import text

    from app.database import Base
    from tests.security.conftest import build

    tally, world = Tally(), None
    tables = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        for number in numbers:
            if time.monotonic() > ends:
                break
            if world is None or number % ANEW < numbers.step:
                with engine.begin() as connection:
                    connection.execute(text(f"TRUNCATE {tables} CASCADE"))
                world = build()
            client.cookies.clear()
            await _one(client, world, seed, number, tally)
            if number // 5_000 != (number + numbers.step) // 5_000:
                print(number, dict(tally.inputs), len(tally.findings), flush=True)
    return tally


def _share(
    seed: int, numbers: range, minutes: float, name: str, home: str, redis_port: int
) -> Tally:
    """What one process does: an application on a database of its own."""
    from argon2 import PasswordHasher

    from app.stack.home import secret
    from app.stack.postgres import Postgres
    from tests.conftest import _make_database, forget_caches

    postgres = Postgres(Path(home))
    _make_database(postgres, name)
    os.environ |= {
        "ACTIVEDPO_DATABASE_URL": postgres.url(name),
        "ACTIVEDPO_REDIS_URL": f"redis://:{secret(Path(home), 'redis')}@127.0.0.1:{redis_port}/0",
        "ACTIVEDPO_HOME": tempfile.mkdtemp(prefix="adpo-fuzz-", dir=home),
        "ACTIVEDPO_SECRET_KEY": "a key for the fuzzer that is long enough",
        "ACTIVEDPO_LOG_LEVEL": "ERROR",
    }
    forget_caches()
    from app.database import get_engine
    from app.main import create_app
    from app.people import passwords

    passwords._hasher = PasswordHasher(1, 8, 1)
    ends = time.monotonic() + 60 * minutes
    return asyncio.run(_run(create_app(), get_engine(), seed, numbers, ends))


def report(tally: Tally, seed: int, seconds: float) -> dict[str, Any]:
    """The result as it is written."""
    return {
        **conditions(),
        "seconds": round(seconds, 1),
        "seed": seed,
        "inputs": sum(tally.inputs.values()),
        "by_kind": {
            kind: {"inputs": tally.inputs[kind], **dict(sorted(tally.statuses[kind].items()))}
            for kind in sorted(tally.inputs)
        },
        "findings": len(tally.findings),
        "found": dict(Counter(one["what"] for one in tally.findings)),
        "first_findings": tally.findings[:MOST_FINDINGS],
        "slower_than_5_s": tally.slow,
        "slowest_seconds": round(tally.slowest, 2),
    }


def main() -> None:
    """Send them, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop by then")
    parser.add_argument("--only", type=int, help="send this input alone and show it")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    from tests.conftest import _start_servers, _stop_servers

    servers, began = _start_servers(), time.monotonic()
    tally = Tally()
    try:
        first, last = (0, asked.inputs) if asked.only is None else (asked.only, asked.only + 1)
        shares = [range(first + n, last, asked.processes) for n in range(asked.processes)]
        with ProcessPoolExecutor(asked.processes) as pool:
            waiting = [
                pool.submit(
                    _share,
                    asked.seed,
                    share,
                    asked.minutes,
                    f"fuzz_{n}",
                    str(servers.home),
                    servers.redis_port,
                )
                for n, share in enumerate(shares)
            ]
            for one in waiting:
                tally.take(one.result())
    finally:
        _stop_servers(servers)
    found = report(tally, asked.seed, time.monotonic() - began)
    if asked.only is None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    sys.exit(1 if tally.findings else 0)


if __name__ == "__main__":
    main()
