"""A project on the tiny model, and a real worker process to work on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import Engine, select

from activedpo.testing import tiny_model
from app.database import transaction
from app.labelling import actions as labelling
from app.people.models import Person
from app.policies.models import Policy
from app.projects.models import Project, Prompt
from app.rounds import actions
from app.rounds.models import Event, Round, Run
from worker.device import Device

WAIT_SECONDS = 240.0


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny chat model."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Quick reactions."""
    from app.settings import get_settings

    values = {
        "ACTIVEDPO_LEASE_SECONDS": "10",
        "ACTIVEDPO_HEARTBEAT_SECONDS": "0.5",
        "ACTIVEDPO_RECONCILE_SECONDS": "1",
        "ACTIVEDPO_DTYPE": "float32",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def device(environment: dict[str, str]) -> Iterator[Device]:
    """The worker's loop without Celery; its child process stays warm between the tests."""
    made = Device()
    yield made
    made.stop()
    made.accelerator.close()


def make_person() -> UUID:
    """An admin."""
    with transaction() as session:
        person = Person(email=f"admin{time.monotonic_ns()}@example.com", role="admin")
        session.add(person)
        session.flush()
        return person.id


@pytest.fixture
def project(database: Engine, settings: None, tiny: str) -> Callable[..., UUID]:
    """Makes a project on the tiny model with prompts, as the HTTP API would."""

    def make(prompts: int = 6, evals: int = 0, long_prompts: int = 0, **columns: Any) -> UUID:
        generation = {"max_new_tokens": 6, "temperature": 1.0, "entropy_samples": 2}
        training = {"beta": 0.1, "lora": 4, "learning_rate": 1e-2, "epochs": 30, "batch_size": 8}
        generation |= columns.pop("generation", {})
        training |= columns.pop("training", {})
        given = {"base_model": tiny, "batch_size": 4, "pool_size": prompts + long_prompts} | columns
        with transaction() as session:
            made = Project(name="tiny", generation=generation, training=training, **given)
            session.add(made)
            session.flush()
            base = Policy(
                project_id=made.id, number=0, kind="base", base_model=str(given["base_model"])
            )
            session.add(base)
            session.flush()
            made.policy_id = base.id
            texts = [(f"say something about {n}", "train") for n in range(prompts)]
            texts += [(f"and something about {n}", "eval") for n in range(evals)]
            texts += [(f"{n} is long " * 100, "train") for n in range(long_prompts)]
            session.add_all(
                Prompt(project_id=made.id, content=text, content_hash=text, split=split)
                for text, split in texts
            )
            return made.id

    return make


def open_round(project_id: UUID) -> UUID:
    """Opens the project's next round."""
    with transaction() as session:
        return actions.open_round(session, session.get_one(Project, project_id), None).id


def round_of(round_id: UUID) -> Round:
    """The round as it is now."""
    with transaction() as session:
        return session.get_one(Round, round_id)


def runs_of(round_id: UUID, kind: str) -> list[Run]:
    """The round's runs of one kind."""
    with transaction() as session:
        query = select(Run).where(Run.round_id == round_id, Run.kind == kind)
        return list(session.scalars(query.order_by(Run.shard)))


def policies_of(project_id: UUID) -> list[UUID]:
    """Ids of the project's policies, π_0 first."""
    with transaction() as session:
        query = select(Policy.id).where(Policy.project_id == project_id)
        return list(session.scalars(query.order_by(Policy.number)))


def events_of(round_id: UUID, kind: str) -> list[Event]:
    """The round's events of one kind."""
    with transaction() as session:
        query = select(Event).where(Event.round_id == round_id, Event.kind == kind)
        return list(session.scalars(query))


def wait_for(what: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What it gives once that is something; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds:.0f} s: {what}")


def wait_state(round_id: UUID, *states: str) -> Round:
    """The round once it is in one of ``states``; a failed one ends the wait with its error."""

    def look() -> Round | None:
        found = round_of(round_id)
        if found.state == "failed" and "failed" not in states:
            raise AssertionError(found.error)
        return found if found.state in states else None

    found: Round = wait_for(look)
    return found


@dataclass
class Worker:
    """A Celery worker process as ``activedpo worker`` starts it, without the clock."""

    process: subprocess.Popen[bytes]
    log: Path

    def children(self) -> list[psutil.Process]:
        """The child that owns the accelerator, if it lives."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children()
        return []

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """Ends it by a signal; its exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        return self.process.wait(seconds)


@pytest.fixture
def start_worker(
    settings: None, database: Engine, tmp_path: Path
) -> Iterator[Callable[..., Worker]]:
    """Starts worker processes; all of them are gone at the end."""
    started: list[Worker] = []

    def start(*command: str) -> Worker:
        log = tmp_path / f"worker-{len(started)}.log"
        arguments = command or ("worker", "-Q", "gpu,default", "--loglevel", "INFO")
        if arguments[0] == "worker":  # without the second in which it looks for others
            arguments = (*arguments, "--without-gossip", "--without-mingle")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker.celery_app", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"C_FORCE_ROOT": "1"},
            )
        started.append(Worker(process, log))
        return started[-1]

    yield start
    for worker in started:
        with suppress(subprocess.TimeoutExpired):
            worker.stop(signal.SIGKILL)
        sys.stdout.write(worker.log.read_text())  # pytest shows it where the test failed


@pytest.fixture
def clock(start_worker: Callable[..., Worker]) -> Worker:
    """Celery beat, which wakes the reconciler every second here."""
    return start_worker("beat")


def label(project_id: UUID, person_id: UUID, count: int = 100) -> int:
    """Answers what is open, by a rule of its own: the text that sorts last is the better one."""
    with transaction() as session:
        project = session.get_one(Project, project_id)
        claimed = labelling.claim_pairs(session, project, person_id, count)
        claims = [(pair.claim.id, pair.left > pair.right) for pair in claimed]
    for claim_id, left in claims:
        with transaction() as session:
            answer = labelling.Answer("left" if left else "right")
            labelling.prefer(session, claim_id, person_id, answer)
    return len(claims)


def label_batch(project_id: UUID, round_id: UUID, person_id: UUID) -> None:
    """Waits for the round's batch and answers all of it."""
    wait_state(round_id, "labelling")
    assert label(project_id, person_id) == round_of(round_id).needed


def one_round(project_id: UUID, device: Device, person_id: UUID | None = None) -> Round:
    """A whole round in this process and the device's child."""
    round_id = open_round(project_id)
    device.drain()
    label_batch(project_id, round_id, person_id or make_person())
    device.drain()
    return round_of(round_id)
