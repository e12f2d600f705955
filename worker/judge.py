"""Oracles that need a model: judged in the child that owns the accelerator, a batch at a time.

Batches and waiting runs take turns, so that neither keeps the other waiting.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import structlog
from sqlalchemy.orm import Session

from activedpo.oracles.templates import VERSION, criteria_of, prompt_hash
from activedpo.oracles.verdict import Verdict
from activedpo.types import Prompt
from app.database import transaction
from app.labelling.actions import ClaimedPair
from app.oracles import actions, queries
from app.oracles.schema import SHARED
from app.settings import get_settings
from worker import models
from worker.accelerator import CrashedError, RefusedError
from worker.device import Device, patiently
from worker.hold import LOOK_SECONDS, HoldLostError
from worker.judge_work import OUTCOME, WORK, JudgeWork, Triple
from worker.shift import Held, answer_of, claim, store

log = structlog.get_logger()
BATCH = 64
"""Pairs judged between two looks at what else waits."""


def one_batch(device: Device) -> bool:
    """Judge one batch of some project; whether there was one."""
    with transaction() as session:
        projects = queries.on_accelerator(session)
    return any(_batch_of(project, device) for project in projects)


def _batch_of(project_id: uuid.UUID, device: Device) -> bool:
    held = _taken(project_id, device.owner)
    if held is None:
        return False
    with structlog.contextvars.bound_contextvars(project=str(project_id), oracle=str(held.id)):
        try:
            return _judge(held, device)
        except HoldLostError:
            log.info("hold_lost")
        except RefusedError as error:
            final = str(error)
            _end(held, lambda s, oracle: actions.stop(s, oracle, final))
        except CrashedError as error:
            why = str(error)
            if device.stopping.is_set():
                _end(held, actions.let_go)
            else:
                _end(held, lambda s, oracle: actions.rest(s, oracle, why))
        return False


def _judge(held: Held, device: Device) -> bool:
    claimed = _claimed(held)
    if not claimed:
        _end(held, actions.let_go)
        return False
    started = time.monotonic()
    with _Kept(held, device):
        outcome = device.accelerator.run("judge", WORK.pack(_work(held, claimed)), _nothing)
    chances = OUTCOME.unpack(outcome).chances
    device.tally.worked("judge", device.accelerator.clock, {"judging": (len(claimed), 0)})
    seconds = (time.monotonic() - started) / len(claimed)
    answers = [
        (pair.claim.id, answer_of(Verdict(p, _record(held, p)), held.settings, seconds))
        for pair, p in zip(claimed, chances, strict=True)
    ]
    _store(held, answers)
    return True


def _nothing(_: dict[str, Any]) -> None:
    return None


def _work(held: Held, claimed: list[ClaimedPair]) -> JudgeWork:
    settings = held.settings
    options = {k: v for k, v in settings.items() if k not in (*SHARED, "model")}
    pairs = [Triple(_plain(pair.prompt), pair.left, pair.right) for pair in claimed]
    return JudgeWork(held.kind, models.at(str(settings["model"]), None), options, pairs)


def _plain(prompt: Prompt) -> Prompt:
    return prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def _record(held: Held, p: float | None) -> dict[str, Any]:
    settings = held.settings
    record = {"name": models.public_name(str(settings["model"])), "version": VERSION, "p": p}
    if held.kind == "local_judge":
        criteria = criteria_of(settings["template"], settings["criteria"])
        named = prompt_hash(settings["template"], criteria, structured=False, guard=True)
        record |= {"version": f"{settings['template']}/{VERSION}", "prompt_hash": named}
    if p is None:
        record["reason"] = "it abstains, or the texts are too long for it"
    return record


@patiently
def _taken(project_id: uuid.UUID, owner: str) -> Held | None:
    with transaction() as session:
        oracle = queries.take(session, project_id, owner, get_settings().lease_seconds)
        return Held.of(oracle) if oracle is not None else None


@patiently
def _claimed(held: Held) -> list[ClaimedPair]:
    with transaction() as session:
        return claim(session, held, BATCH, first=True)


@patiently
def _store(held: Held, answers: list[Any]) -> None:
    with transaction() as session:
        store(session, held, answers, {"calls": float(len(answers))})
        oracle = queries.held(session, held.id, held.attempt)
        if oracle is not None:
            actions.let_go(session, oracle)


@patiently
def _end(held: Held, how: Any) -> None:
    with transaction() as session:
        oracle = queries.held(session, held.id, held.attempt)
        if oracle is not None:
            how(session, oracle)


class _Kept:
    """Keeps the hold while the child works; a hold that is lost ends the child."""

    def __init__(self, held: Held, device: Device) -> None:
        self._held, self._device = held, device
        self._stop, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="judge-heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None and self._lost.is_set():
            raise HoldLostError

    def _beat(self) -> None:
        settings = get_settings()
        renewed = time.monotonic()
        while not self._stop.wait(min(LOOK_SECONDS, settings.heartbeat_seconds)):
            due = time.monotonic() - renewed >= settings.heartbeat_seconds
            try:
                with transaction() as session:
                    stands = self._renew(session, due, settings.lease_seconds)
            except Exception as error:
                log.warning("heartbeat_missed", error=type(error).__name__)
                continue
            renewed = time.monotonic() if due else renewed
            if not stands:
                self._lost.set()
                self._device.accelerator.kill()
                return

    def _renew(self, session: Session, due: bool, seconds: float) -> bool:
        if due:
            return queries.renew(session, self._held.id, self._held.attempt, seconds)
        return queries.wanted(session, self._held.id, self._held.attempt)
