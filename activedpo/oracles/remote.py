"""A function as an oracle of a project somewhere else, over the HTTP API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from activedpo.client import MOST_CLAIMS, Answer, Claim, Client

QUICK_SECONDS, SLOW_SECONDS = 1.0, 10.0
CHOICES = ("left", "right", "tie", "both_bad", "skip")


@dataclass
class Tally:
    """How far a run is."""

    labels: int = 0
    abstained: int = 0
    refused: int = 0


def as_answer(claim: Claim, said: Any, judge: dict[str, Any]) -> Answer:
    """What a function said of (prompt, left, right) as an answer.

    Args:
        said: p(left is better) in [0, 1], True or False, None to abstain, or a choice by name.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(said, str) and said in CHOICES:
        return Answer(claim.id, said, judge=judge)
    if said is None:
        return Answer(claim.id, "skip", judge=judge)
    try:
        p = float(said)
    except (TypeError, ValueError):
        p = -1.0
    if not 0 <= p <= 1:
        raise ValueError(f"the oracle answered {said!r}: neither a probability, a choice nor None")
    choice = "tie" if p == 0.5 else "left" if p > 0.5 else "right"
    return Answer(claim.id, choice, p_left=p, judge=judge)


def label(
    client: Client,
    project: str,
    judge: Callable[..., Any],
    *,
    name: str,
    version: str | None = None,
    concurrency: int = 8,
    wait_seconds: float = 20.0,
    once: bool = False,
    stop: threading.Event | None = None,
    progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Label what the project asks until ``stop`` is set; with ``once``, until nothing is left.

    Args:
        judge: function of (prompt, left, right); see :func:`as_answer`.
        name, version: kept with every label.
        concurrency: calls of ``judge`` at a time, each in a thread.
        stop: what is judged by then is sent, the rest given back.

    Raises:
        whatever ``judge`` raises, after what was judged is sent and the rest given back.
    """
    stop, tally = stop or threading.Event(), Tally()
    named = {"name": name} | ({"version": version} if version else {})
    count, claims = min(MOST_CLAIMS, 2 * concurrency), client.held(project)
    with ThreadPoolExecutor(concurrency) as pool:
        while not stop.is_set():
            claims = claims or client.claims(project, count, 0.0 if once else wait_seconds)
            if not claims and once:
                break
            started = time.monotonic()
            _batch(client, pool, judge, claims, named, stop, tally)
            count = _next_count(count, time.monotonic() - started, concurrency)
            claims = []
            if progress is not None:
                progress(tally)
    return tally


def _next_count(count: int, seconds: float, concurrency: int) -> int:
    if seconds < QUICK_SECONDS:
        return min(MOST_CLAIMS, 2 * count)
    return max(min(MOST_CLAIMS, concurrency), count // 2) if seconds > SLOW_SECONDS else count


def _batch(
    client: Client,
    pool: ThreadPoolExecutor,
    judge: Callable[..., Any],
    claims: Sequence[Claim],
    named: dict[str, Any],
    stop: threading.Event,
    tally: Tally,
) -> None:
    futures = {pool.submit(judge, c.prompt, c.left, c.right): c for c in claims}
    waiting = set(futures)
    while waiting and not stop.is_set() and not any(map(_failed, futures)):
        waiting = wait(waiting, timeout=0.2).not_done
    for future in waiting:
        future.cancel()
    wait([future for future in waiting if not future.cancelled()])
    _send(client, futures, named, tally)


def _failed(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


def _send(
    client: Client, futures: dict[Future[Any], Claim], named: dict[str, Any], tally: Tally
) -> None:
    answers: list[Answer] = []
    back: list[str] = []
    error: BaseException | None = None
    for future, claim in futures.items():
        try:
            if future.cancelled():
                back.append(claim.id)
            else:
                answers.append(as_answer(claim, future.result(), named))
        except Exception as raised:
            error = raised
            back.append(claim.id)
    for outcome in client.answer(*answers):
        tally.labels += outcome.stored
        tally.refused += not outcome.stored
    tally.abstained += sum(answer.choice == "skip" for answer in answers)
    client.release(*back)
    if error is not None:
        raise error
